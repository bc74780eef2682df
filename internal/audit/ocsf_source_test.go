package audit_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// whole is a whole number of JSON.
func whole(value any) (int64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	return n, err == nil
}

// misfit says why a value is not of a type; empty where it is.
func (s *ocsfSchema) misfit(kind string, value any) string {
	limits, named := s.types[kind]
	base := kind
	if named {
		base = limits.base
	}
	switch base {
	case "json_t":
		return ""
	case "string_t":
		text, ok := value.(string)
		switch {
		case !ok:
			return "no text"
		case text == "":
			return "empty"
		case limits.most > 0 && len([]rune(text)) > limits.most:
			return "too long"
		case limits.pattern != "" && !regexp.MustCompile(limits.pattern).MatchString(text):
			return "not of the form " + limits.pattern
		}
	case "integer_t", "long_t":
		n, ok := whole(value)
		if !ok {
			return "no whole number"
		}
		if limits.ranged && (n < limits.low || n > limits.high) {
			return fmt.Sprintf("outside %d to %d", limits.low, limits.high)
		}
	case "boolean_t":
		if _, ok := value.(bool); !ok {
			return "neither true nor false"
		}
	case "float_t":
		if _, ok := value.(json.Number); !ok {
			return "no number"
		}
	default:
		return "of an unknown type " + kind
	}
	return ""
}

// sourceShape is a class or object as the published schema writes it.
type sourceShape struct {
	UID         *int
	Name        string
	Caption     string
	Category    string
	Extends     string
	Attributes  map[string]json.RawMessage
	Constraints map[string][]string
}

type sourceAttribute struct {
	Type        string
	IsArray     bool `json:"is_array"`
	Requirement string
	Sibling     string
	Enum        map[string]struct{ Caption string }
	Profile     *string
	Deprecated  json.RawMessage `json:"@deprecated"`
}

// source is the published schema as files.
type source struct {
	t          *testing.T
	dir        string
	dictionary map[string]json.RawMessage
	shapes     map[string]sourceShape // classes and objects by name
}

// readSource reads the published schema from its directory. Extensions of it
// are left out.
func readSource(t *testing.T, dir string) *ocsfSchema {
	t.Helper()
	var version struct{ Version string }
	var categories struct {
		Attributes map[string]struct {
			UID     int
			Caption string
		}
	}
	var dictionary struct {
		Attributes map[string]json.RawMessage
		Types      struct {
			Attributes map[string]struct {
				Type   string
				Regex  string
				MaxLen int `json:"max_len"`
				Range  []int64
			}
		}
	}
	src := &source{t: t, dir: dir, shapes: map[string]sourceShape{}}
	src.read("version.json", &version)
	src.read("categories.json", &categories)
	src.read("dictionary.json", &dictionary)
	src.dictionary = dictionary.Attributes
	s := &ocsfSchema{version: version.Version, classes: map[int]*ocsfShape{}, objects: map[string]*ocsfShape{}, types: map[string]ocsfType{}}
	for name, kind := range dictionary.Types.Attributes {
		limits := ocsfType{base: kind.Type, pattern: kind.Regex, most: kind.MaxLen}
		if limits.base == "" {
			limits.base = name
		}
		if len(kind.Range) == 2 {
			limits.ranged, limits.low, limits.high = true, kind.Range[0], kind.Range[1]
		}
		s.types[name] = limits
	}
	for _, path := range src.files("objects") {
		shape := src.shape(path)
		s.objects[shape.Name] = nil
	}
	for _, path := range src.files("events") {
		src.shape(path)
	}
	for name, shape := range src.shapes {
		_, object := s.objects[name]
		compiled := src.compile(shape)
		if object {
			s.objects[name] = compiled
			continue
		}
		if shape.UID == nil && name != "base_event" {
			continue // an abstract one
		}
		category := categories.Attributes[src.category(shape)] // of base_event: none, 0
		compiled.category, compiled.categoryName = category.UID, category.Caption
		if name == "base_event" {
			compiled.categoryName = "Uncategorized"
		} else {
			compiled.uid = category.UID*1000 + *shape.UID
		}
		compiled.name = shape.Caption
		for _, own := range []string{"class_uid", "category_uid"} { // the values are the base's; wrong knows the class's
			a := compiled.attributes[own]
			a.values = nil
			compiled.attributes[own] = a
		}
		s.classes[compiled.uid] = compiled
	}
	return s
}

func (s *source) read(path string, v any) {
	s.t.Helper()
	body, err := os.ReadFile(filepath.Join(s.dir, path))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
}

func (s *source) files(folder string) (paths []string) {
	err := filepath.WalkDir(filepath.Join(s.dir, folder), func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".json" {
			relative, err := filepath.Rel(s.dir, path)
			paths = append(paths, relative)
			return err
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return paths
}

func (s *source) shape(path string) sourceShape {
	var shape sourceShape
	s.read(path, &shape)
	s.shapes[shape.Name] = shape
	return shape
}

func (s *source) category(shape sourceShape) string {
	for shape.Category == "" && shape.Extends != "" {
		shape = s.shapes[shape.Extends]
	}
	return shape.Category
}

// compile puts together what a shape has by itself, by profiles, and from what
// it extends.
func (s *source) compile(shape sourceShape) *ocsfShape {
	compiled := &ocsfShape{name: shape.Name, attributes: map[string]ocsfAttribute{}}
	if shape.Extends != "" {
		parent := s.compile(s.shapes[shape.Extends])
		compiled.attributes, compiled.atLeastOne, compiled.justOne = parent.attributes, parent.atLeastOne, parent.justOne
	}
	for _, path := range s.includes(shape) {
		var profile struct {
			Name       string
			Attributes map[string]json.RawMessage
		}
		s.read(path, &profile)
		for name, body := range profile.Attributes {
			if name != "$include" {
				s.add(compiled, name, body, &profile.Name)
			}
		}
	}
	for name, body := range shape.Attributes {
		if name != "$include" {
			s.add(compiled, name, body, nil)
		}
	}
	if shape.Constraints != nil {
		compiled.atLeastOne, compiled.justOne = shape.Constraints["at_least_one"], shape.Constraints["just_one"]
	}
	return compiled
}

func (s *source) includes(shape sourceShape) (paths []string) {
	body, ok := shape.Attributes["$include"]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(body, &paths); err != nil {
		s.t.Fatalf("what %s includes: %v", shape.Name, err)
	}
	return paths
}

// add puts an attribute into a shape: what the dictionary says, what the
// shape had, what it says now, each before the one ahead of it.
func (s *source) add(shape *ocsfShape, name string, body json.RawMessage, profile *string) {
	a, had := shape.attributes[name]
	if !had {
		a = s.attribute(ocsfAttribute{}, s.dictionary[name])
	}
	a = s.attribute(a, body)
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		s.t.Fatal(err)
	}
	if _, says := raw["profile"]; !says && profile != nil && !had {
		a.profile = *profile
	}
	shape.attributes[name] = a
}

func (s *source) attribute(a ocsfAttribute, body json.RawMessage) ocsfAttribute {
	if body == nil {
		return a
	}
	var now sourceAttribute
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &now); err != nil {
		s.t.Fatalf("%s: %v", body, err)
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		s.t.Fatal(err)
	}
	if now.Type != "" {
		a.kind, a.list = now.Type, now.IsArray
	}
	if now.Requirement != "" {
		a.requirement = now.Requirement
	}
	if now.Sibling != "" {
		a.caption = now.Sibling
	}
	if now.Deprecated != nil {
		a.deprecated = true
	}
	if _, says := raw["profile"]; says {
		a.profile = ""
		if now.Profile != nil {
			a.profile = *now.Profile
		}
	}
	if now.Enum != nil {
		a.values = maps.Clone(a.values)
		if a.values == nil {
			a.values = map[string]string{}
		}
		for value, says := range now.Enum {
			a.values[value] = says.Caption
		}
	}
	return a
}

// compareNotes says where our notes differ from the schema: what they state
// must be so, and what the schema requires must be in them.
func compareNotes(notes, schema *ocsfSchema) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	compare := func(what string, note, is *ocsfShape) {
		if is == nil {
			say("%s does not exist", what)
			return
		}
		if note.name != is.name || note.category != is.category || note.categoryName != is.categoryName {
			say("%s is %s of %d %s", what, is.name, is.category, is.categoryName)
		}
		if len(note.atLeastOne) > 0 != (len(is.atLeastOne) > 0) || !slices.Equal(sorted(note.atLeastOne), sorted(is.atLeastOne)) || len(is.justOne) > 0 {
			say("%s needs at least one of %v, just one of %v", what, is.atLeastOne, is.justOne)
		}
		for name, a := range note.attributes {
			b, ok := is.attributes[name]
			same := ok && a.kind == b.kind && a.list == b.list && a.caption == b.caption && a.profile == b.profile && !b.deprecated &&
				(a.requirement == b.requirement || b.requirement == "") && (a.values == nil || b.values != nil)
			for value, caption := range a.values {
				same = same && b.values[value] == caption
			}
			if !same {
				say("%s.%s is %+v, noted as %+v", what, name, b, a)
			}
		}
		for name, b := range is.attributes {
			if _, noted := note.attributes[name]; !noted && b.requirement == "required" && b.profile == "" {
				say("%s.%s is required and not noted", what, name)
			}
		}
	}
	for uid, note := range notes.classes {
		compare("class "+strconv.Itoa(uid), note, schema.classes[uid])
	}
	for name, note := range notes.objects {
		compare(name, note, schema.objects[name])
	}
	for name, note := range notes.types {
		is := schema.types[name]
		if is.pattern = ""; note != is {
			say("type %s is %+v, noted as %+v", name, is, note)
		}
	}
	if notes.version != schema.version {
		say("the schema is version %s, the notes are of %s", schema.version, notes.version)
	}
	return sorted(found)
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
