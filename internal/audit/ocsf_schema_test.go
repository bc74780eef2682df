package audit_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rotator/internal/audit"
)

// ocsfDirectory names a checkout of ocsf-schema. With it exports are held
// against the schema itself, and our notes of it are too.
var ocsfDirectory = flag.String("ocsf-schema", "", "directory with the published OCSF schema")

// ocsfSchema is a version of OCSF: the whole of it, or our notes.
type ocsfSchema struct {
	version string
	classes map[int]*ocsfShape
	objects map[string]*ocsfShape
	types   map[string]ocsfType
}

// ocsfShape is a class or an object.
type ocsfShape struct {
	uid, category       int // of a class
	name, categoryName  string
	attributes          map[string]ocsfAttribute
	atLeastOne, justOne []string
}

type ocsfAttribute struct {
	kind        string // a type's or an object's name
	list        bool
	requirement string            // required, recommended or optional
	values      map[string]string // captions; nil: any value
	caption     string            // the attribute that holds the value's caption
	profile     string            // the profile that brings it; empty: always there
	deprecated  bool
}

// ocsfType is a type that is another one with limits.
type ocsfType struct {
	base      string
	pattern   string // a regular expression
	most      int    // characters; 0: any
	low, high int64
	ranged    bool
}

// readNotes reads our notes of the schema, testdata/ocsf-*.txt.
func readNotes(t *testing.T) *ocsfSchema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "ocsf-"+audit.OCSFVersion+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	s := &ocsfSchema{classes: map[int]*ocsfShape{}, objects: map[string]*ocsfShape{}, types: map[string]ocsfType{}}
	var shape *ocsfShape
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(strings.Split(line, "#")[0])
		if len(words) == 0 {
			continue
		}
		if strings.HasPrefix(line, "  ") {
			shape.note(t, words)
		} else if err := s.note(words, &shape); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	return s
}

// note reads a line that begins something: version, type, class or object.
func (s *ocsfSchema) note(words []string, shape **ocsfShape) (err error) {
	switch words[0] {
	case "version":
		s.version = words[1]
	case "type":
		s.types[words[1]], err = noteType(words[2:])
	case "object":
		*shape = &ocsfShape{name: words[1], attributes: map[string]ocsfAttribute{}}
		s.objects[words[1]] = *shape
	case "class":
		*shape = &ocsfShape{name: spaced(words[2]), categoryName: spaced(words[4]), attributes: map[string]ocsfAttribute{}}
		uid, err1 := strconv.Atoi(words[1])
		category, err2 := strconv.Atoi(words[3])
		(*shape).uid, (*shape).category = uid, category
		s.classes[uid] = *shape
		if len(words) > 6 {
			parent, err3 := strconv.Atoi(words[6])
			maps.Copy((*shape).attributes, s.classes[parent].attributes)
			return errors.Join(err1, err2, err3)
		}
		return errors.Join(err1, err2)
	default:
		err = errors.New("no such line")
	}
	return err
}

func noteType(words []string) (ocsfType, error) {
	kind := ocsfType{base: words[0]}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		var err error
		switch name {
		case "most":
			kind.most, err = strconv.Atoi(value)
		case "range":
			kind.ranged = true
			_, err = fmt.Sscanf(value, "%d..%d", &kind.low, &kind.high)
		default:
			err = fmt.Errorf("what is %s?", w)
		}
		if err != nil {
			return kind, err
		}
	}
	return kind, nil
}

// note reads a line of a class or object. What extends another adds values to
// those that the other's attribute has.
func (p *ocsfShape) note(t *testing.T, words []string) {
	t.Helper()
	if words[0] == "at_least_one" {
		p.atLeastOne = words[1:]
		return
	}
	kind, list := strings.CutSuffix(words[1], "[]")
	a := ocsfAttribute{kind: kind, list: list, requirement: words[2], values: maps.Clone(p.attributes[words[0]].values)}
	for _, w := range words[3:] {
		name, value, ok := strings.Cut(w, "=")
		switch {
		case !ok:
			t.Fatalf("what is %s of %s?", w, words[0])
		case name == "text":
			a.caption = value
		case name == "profile":
			a.profile = value
		default:
			if a.values == nil {
				a.values = map[string]string{}
			}
			a.values[name] = spaced(value)
		}
	}
	p.attributes[words[0]] = a
}

func spaced(text string) string { return strings.ReplaceAll(text, "_", " ") }

// wrong says all that an event, a line of an export, has wrong.
func (s *ocsfSchema) wrong(line []byte) []string {
	var event map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(line)))
	decoder.UseNumber()
	if err := decoder.Decode(&event); err != nil {
		return []string{err.Error()}
	}
	uid, ok := whole(event["class_uid"])
	class := s.classes[int(uid)]
	if !ok || class == nil {
		return []string{fmt.Sprintf("class_uid %v is no class", event["class_uid"])}
	}
	metadata, _ := event["metadata"].(map[string]any)
	var profiles []string
	if list, ok := metadata["profiles"].([]any); ok {
		for _, p := range list {
			profiles = append(profiles, fmt.Sprint(p))
		}
	}
	v := &ocsfVisit{schema: s, profiles: profiles}
	v.object("", class, event)
	activity, _ := whole(event["activity_id"])
	for name, want := range map[string]any{
		"type_uid": int64(class.uid)*100 + activity, "category_uid": int64(class.category),
		"class_name": class.name, "category_name": class.categoryName,
		"type_name": class.name + ": " + fmt.Sprint(event["activity_name"]),
	} {
		if got := event[name]; fmt.Sprint(got) != fmt.Sprint(want) {
			v.say(name, "is %v, want %v", got, want)
		}
	}
	if got := metadata["version"]; got != s.version {
		v.say("metadata.version", "is %v, want %s", got, s.version)
	}
	slices.Sort(v.found)
	return v.found
}

// ocsfVisit goes through one event.
type ocsfVisit struct {
	schema   *ocsfSchema
	profiles []string
	found    []string
}

func (v *ocsfVisit) say(path, format string, args ...any) {
	v.found = append(v.found, path+" "+fmt.Sprintf(format, args...))
}

func (v *ocsfVisit) object(path string, shape *ocsfShape, object map[string]any) {
	at := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	for name, value := range object {
		a, ok := shape.attributes[name]
		switch {
		case !ok, a.profile != "" && !slices.Contains(v.profiles, a.profile):
			v.say(at(name), "is not an attribute of %s", shape.name)
			continue
		case a.deprecated:
			v.say(at(name), "is deprecated")
		}
		v.attribute(at(name), a, value)
		if a.caption != "" && a.values != nil {
			v.caption(at(a.caption), a.values[fmt.Sprint(value)], fmt.Sprint(value), object[a.caption])
		}
	}
	for name, a := range shape.attributes {
		if _, there := object[name]; !there && a.requirement == "required" && (a.profile == "" || slices.Contains(v.profiles, a.profile)) {
			v.say(at(name), "is required")
		}
	}
	there := func(name string) bool { _, ok := object[name]; return ok }
	if len(shape.atLeastOne) > 0 && !slices.ContainsFunc(shape.atLeastOne, there) {
		v.say(path, "has none of %v", shape.atLeastOne)
	}
	if n := len(slices.DeleteFunc(slices.Clone(shape.justOne), func(name string) bool { return !there(name) })); len(shape.justOne) > 0 && n != 1 {
		v.say(path, "has %d of %v", n, shape.justOne)
	}
}

// caption checks the text beside a value: 99 is ours to name, and must be.
func (v *ocsfVisit) caption(path, want, value string, got any) {
	if value == "99" {
		if got == nil || got == "" || got == "Other" {
			v.say(path, "does not name what is other")
		}
		return
	}
	if got != want {
		v.say(path, "is %v beside %s, want %s", got, value, want)
	}
}

func (v *ocsfVisit) attribute(path string, a ocsfAttribute, value any) {
	if !a.list {
		v.value(path, a, value)
		return
	}
	list, ok := value.([]any)
	if !ok {
		v.say(path, "is no list")
	}
	for i, one := range list {
		v.value(path+"["+strconv.Itoa(i)+"]", a, one)
	}
}

func (v *ocsfVisit) value(path string, a ocsfAttribute, value any) {
	if a.values != nil {
		if _, ok := a.values[fmt.Sprint(value)]; !ok {
			v.say(path, "is %v, which is none of its values", value)
		}
	}
	if a.kind == "object" { // anything
		if _, ok := value.(map[string]any); !ok {
			v.say(path, "is no object")
		}
		return
	}
	if shape, ok := v.schema.objects[a.kind]; ok {
		if object, ok := value.(map[string]any); ok {
			v.object(path, shape, object)
		} else {
			v.say(path, "is no object")
		}
		return
	}
	if why := v.schema.misfit(a.kind, value); why != "" {
		v.say(path, "is %v: %s", value, why)
	}
}
