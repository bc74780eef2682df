package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// lookuper is an environment: the process's own, or a test's.
type lookuper interface {
	// Lookup returns a variable's value and whether it is set.
	Lookup(name string) (string, bool)
	// Names lists the variables that are set.
	Names() []string
}

// osEnvironment is the process's environment.
type osEnvironment struct{}

// Lookup returns a variable of the process.
func (osEnvironment) Lookup(name string) (string, bool) { return os.LookupEnv(name) }

// Names lists the process's variables.
func (osEnvironment) Names() []string {
	var names []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name)
	}
	return names
}

// source is one place that variables come from.
type source struct {
	label string // " in FILE" for messages; empty for the environment
	env   lookuper
}

// sources are looked at in their order; the first that sets a variable wins.
type sources struct{ list []source }

// openSources reads the files. It returns what could be read even beside an
// error, which is a configError.
func openSources(env lookuper, files []string) (*sources, error) {
	var problems configError
	src := &sources{list: []source{{env: env}}}
	for _, path := range slices.Backward(files) {
		vars, err := readEnvFile(path)
		problems.addAll(err)
		src.list = append(src.list, source{label: " in " + path, env: vars})
	}
	return src, problems.orNil()
}

// find returns a variable's text, from itself or from the file that NAME_FILE
// names; empty where it is not set.
func (s *sources) find(name string) (string, *problem) {
	text, path, label := s.locate(name)
	switch {
	case text != "" && path != "":
		return "", &problem{name, "is set twice, " + name + "_FILE is set too" + label, "set one of the two"}
	case path != "":
		return readValueFile(name, path)
	}
	return text, nil
}

// file is the file that a variable's text comes from, empty if none.
func (s *sources) file(name string) string {
	_, path, _ := s.locate(name)
	return path
}

// locate returns the text and the NAME_FILE of a variable in the first source
// that sets either.
func (s *sources) locate(name string) (text, path, label string) {
	for _, one := range s.list {
		text, _ = one.env.Lookup(name)
		if !strings.HasSuffix(name, "_FILE") { // VAULT_JWT_FILE is a path itself
			path, _ = one.env.Lookup(name + "_FILE")
		}
		if text != "" || path != "" {
			return text, path, one.label
		}
	}
	return "", "", ""
}

// readValueFile returns the content of a NAME_FILE without its last newline.
func readValueFile(name, path string) (string, *problem) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", &problem{name + "_FILE", fmt.Sprintf("cannot be read: %v", err), "name a file that this process may read"}
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if text == "" {
		return "", &problem{name + "_FILE", path + " is empty", "put the value into the file, or remove the variable"}
	}
	return text, nil
}

// envFile holds the variables of one --env-file.
type envFile map[string]string

// Lookup returns a variable of the file.
func (f envFile) Lookup(name string) (string, bool) { v, ok := f[name]; return v, ok }

// Names lists the file's variables.
func (f envFile) Names() []string {
	var names []string
	for name := range f {
		names = append(names, name)
	}
	return names
}

// readEnvFile reads KEY=VALUE lines; the error is a configError.
func readEnvFile(path string) (envFile, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, configError{{"--env-file", fmt.Sprintf("cannot be read: %v", err), "name a file that this process may read"}}
	}
	return parseEnvFile(path, string(b))
}

// parseEnvFile reads `KEY=VALUE` lines: blank lines and lines that begin with
// # are skipped, `export ` is allowed, a value may stand in single or double
// quotes. Nothing is expanded and nothing after a value is a comment, because
// secrets contain $ and #. Messages never show a line's text for that reason.
func parseEnvFile(path, text string) (envFile, error) {
	var problems configError
	vars := envFile{}
	for i, line := range strings.Split(text, "\n") {
		where := fmt.Sprintf("%s:%d", path, i+1)
		entry := strings.TrimSpace(line)
		if entry == "" || entry[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(entry, "export "), "=")
		name = strings.TrimSpace(name)
		if !ok || !isName(name) {
			problems.add(where, "is not a KEY=VALUE line", "write one variable a line, or begin a comment with #")
			continue
		}
		if _, twice := vars[name]; twice {
			problems.add(where, name+" is set a second time", "keep one of the two lines")
		}
		if value, ok = unquote(strings.TrimSpace(value)); !ok {
			problems.add(where, name+" begins with a quote that is not closed", "close the quote at the line's end")
		}
		vars[name] = value
	}
	return vars, problems.orNil()
}

// unquote takes off a pair of quotes around value; ok is false when only the
// first of the two is there.
func unquote(value string) (text string, ok bool) {
	if value == "" || (value[0] != '"' && value[0] != '\'') {
		return value, true
	}
	if len(value) < 2 || value[len(value)-1] != value[0] {
		return value, false
	}
	return value[1 : len(value)-1], true
}

// isName reports whether name can name a variable.
func isName(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
