package main

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

// variable is what a settings field's tags say.
type variable struct {
	name     string
	fallback string // default, empty if none
	required bool
	check    string
	doc      string
	shown    string
	secret   bool
}

// decodeSection fills target, a pointer to a struct of settings. Its error is
// a configError. A field whose text is wrong gets its default, if any.
//
// go-envconfig stops at the first wrong variable and people want to hear of
// all: so every field is decoded as a struct of its own.
func decodeSection(ctx context.Context, target any, src *sources) error {
	var problems configError
	s := reflect.ValueOf(target).Elem()
	for i := range s.NumField() {
		v := variableOf(s.Type().Field(i))
		text, p := v.text(src)
		if p != nil {
			problems = append(problems, *p)
		}
		if text == "" {
			continue
		}
		if err := v.decode(ctx, s.Type().Field(i), s.Field(i), text); err != nil {
			problems = append(problems, problem{v.name, "is not understood", err.Error()})
		}
	}
	return problems.orNil()
}

// text returns the variable's checked text, or its default where it is not
// set or, together with the problem, where it is wrong.
func (v variable) text(src *sources) (string, *problem) {
	fallback, p := v.checked(v.fallback)
	if p != nil {
		return "", p
	}
	text, p := src.find(v.name)
	switch {
	case p != nil:
		return fallback, p
	case text == "" && v.required:
		return "", &problem{v.name, "is not set", v.doc}
	case text == "":
		return fallback, nil
	}
	if text, p = v.checked(text); p != nil {
		return fallback, p
	}
	return text, nil
}

// checked runs the variable's check and returns the text as go-envconfig
// understands it.
func (v variable) checked(text string) (string, *problem) {
	kind, args, _ := strings.Cut(v.check, " ")
	check, ok := checks[kind]
	if text == "" || !ok {
		return text, nil
	}
	out, err := check(text, strings.Fields(args))
	if err == nil {
		return out, nil
	}
	wrong := fmt.Sprintf("%q %s", text, err.wrong)
	if v.secret || strings.Contains(text, "://") && strings.Contains(text, "@") { // may hold a password
		wrong = "its value (not shown) " + err.wrong
	}
	return "", &problem{v.name, wrong, err.right}
}

// decode lets go-envconfig set field, described by f, from text.
func (v variable) decode(ctx context.Context, f reflect.StructField, field reflect.Value, text string) error {
	single := reflect.New(reflect.StructOf([]reflect.StructField{f}))
	err := envconfig.ProcessWith(ctx, &envconfig.Config{
		Target:   single.Interface(),
		Lookuper: envconfig.MapLookuper(map[string]string{v.name: text}),
	})
	if err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	field.Set(single.Elem().Field(0))
	return nil
}

// variableOf reads a settings field's tags.
func variableOf(f reflect.StructField) variable {
	tag, fallback, _ := strings.Cut(f.Tag.Get("env"), ",default=")
	name, options, _ := strings.Cut(tag, ",")
	return variable{
		name:     name,
		fallback: fallback,
		required: options == "required",
		check:    f.Tag.Get("check"),
		doc:      f.Tag.Get("doc"),
		shown:    f.Tag.Get("shown"),
		secret:   f.Type == secretType,
	}
}
