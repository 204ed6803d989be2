// This file decodes JSON bodies more strictly than encoding/json does.

package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// decodeJSON decodes a body of exactly one JSON value into v. It refuses unknown fields, fields
// in another spelling, duplicate fields and null, which encoding/json accepts or ignores. A
// [json.RawMessage] in v takes any JSON.
func decodeJSON(body []byte, v any) error {
	if !utf8.Valid(body) {
		return badRequest("body is not JSON: it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	var whole json.RawMessage
	if err := dec.Decode(&whole); err != nil {
		return badRequest("body is not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest("body has more than one JSON value")
	}
	if err := checkShape(json.NewDecoder(bytes.NewReader(whole)), reflect.TypeOf(v), "body"); err != nil {
		return badRequest("%w", err)
	}
	if err := json.Unmarshal(whole, v); err != nil {
		return badRequest("body does not fit this request: %w", err)
	}
	return nil
}

// checkShape reads one value, which is known to be valid JSON, and compares its structure with
// type t. It does not check the kinds of plain values: json.Unmarshal does.
func checkShape(dec *json.Decoder, t reflect.Type, where string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[json.RawMessage]() {
		return dec.Decode(new(json.RawMessage))
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	switch {
	case token == nil:
		return fmt.Errorf("%s is null: give a value, or leave it out", where)
	case token == json.Delim('{') && t.Kind() == reflect.Struct:
		return checkFields(dec, t, where)
	case token == json.Delim('[') && t.Kind() == reflect.Slice:
		for i := 0; dec.More(); i++ {
			if err := checkShape(dec, t.Elem(), fmt.Sprintf("%s[%d]", where, i)); err != nil {
				return err
			}
		}
		_, err = dec.Token()
		return err
	case token == json.Delim('{'), token == json.Delim('['):
		return fmt.Errorf("%s does not fit this request", where)
	}
	return nil
}

// checkFields reads the rest of an object and compares its fields with those of t.
func checkFields(dec *json.Decoder, t reflect.Type, where string) error {
	seen := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		field, known := fieldNamed(t, key)
		switch {
		case !known:
			return fmt.Errorf("%s has an unknown field %.50q: %s", where, key, fieldsToUse(t))
		case seen[key]:
			return fmt.Errorf("%s has the field %s more than once: give it once", where, key)
		}
		seen[key] = true
		if err := checkShape(dec, field.Type, where+"."+key); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func fieldNamed(t reflect.Type, key string) (reflect.StructField, bool) {
	fields := reflect.VisibleFields(t)
	i := slices.IndexFunc(fields, func(f reflect.StructField) bool { return key != "" && jsonName(f) == key })
	if i < 0 {
		return reflect.StructField{}, false
	}
	return fields[i], true
}

func fieldsToUse(t reflect.Type) string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		names = append(names, jsonName(f))
	}
	if len(names) == 0 {
		return "no field is allowed here"
	}
	return "use " + strings.Join(names, ", ")
}
