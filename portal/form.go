package portal

import (
	"fmt"
	"html/template"
	"reflect"
	"slices"
	"strings"

	"tongban/service"
)

// choiceOption is one option of radios, checkboxes or a select.
type choiceOption struct {
	Value, Text, Hint string
	ID                string
	Chosen            bool
}

// fieldData is what the templates "field-…" get.
type fieldData struct {
	Kind, ID, Name, Label, Hint, Error string
	Value                              string
	Choices                            []choiceOption
	Rows, Width, MaxLength             int
	Prefix, Suffix                     string
	Autocomplete, InputMode, Accept    string
	Optional, Disabled                 bool
	Described                          string // Ids for aria-describedby.
}

// inputs are the kinds that one <input> serves.
var inputs = []string{"text", "number", "email", "tel", "date", "password"}

// fieldID is the element that an error of the field links to.
func fieldID(name string) string {
	return "f-" + strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
}

func (f formatter) choice(value, label any, more ...any) (choiceOption, error) {
	extra, err := args(more...)
	return choiceOption{Value: fmt.Sprint(value), Text: f.text(label), Hint: f.text(extra["hint"])}, err
}

// field renders a label, hint, error and control as GOV.UK's form patterns ask.
func (f formatter) field(set *pageSet, page *Page, kind, name, label string, more []any) (template.HTML, error) {
	options, err := args(more...)
	if err != nil {
		return "", fmt.Errorf("field %s: %w", name, err)
	}
	d := fieldData{Kind: kind, ID: fieldID(name), Name: name, Label: f.text(label)}
	if err := f.setOptions(&d, options); err != nil {
		return "", fmt.Errorf("field %s: %w", name, err)
	}
	f.fill(&d, page, options["value"])

	body := kind
	if slices.Contains(inputs, kind) {
		body = "input"
	}
	t := set.frame.Lookup("field-" + body)
	if t == nil {
		return "", fmt.Errorf("field %s: there is no kind %q", name, kind)
	}
	var out strings.Builder
	err = t.Execute(&out, d)
	return template.HTML(out.String()), err
}

func (f formatter) setOptions(d *fieldData, options map[string]any) error {
	for name, v := range options {
		switch name {
		case "value": // Below, with what the user typed.
		case "hint":
			d.Hint = f.text(v)
		case "choices":
			choices, err := choicesOf(v)
			if err != nil {
				return err
			}
			d.Choices = choices
		case "required":
			d.Optional = v == false
		case "disabled":
			d.Disabled = v == true
		case "rows":
			d.Rows = int(number(v))
		case "width":
			d.Width = int(number(v))
		case "maxlength":
			d.MaxLength = int(number(v))
		case "prefix":
			d.Prefix = f.text(v)
		case "suffix":
			d.Suffix = f.text(v)
		case "autocomplete":
			d.Autocomplete = fmt.Sprint(v)
		case "inputmode":
			d.InputMode = fmt.Sprint(v)
		case "accept":
			d.Accept = fmt.Sprint(v)
		default:
			return fmt.Errorf("there is no option %q", name)
		}
	}
	return nil
}

// choicesOf reads a list of {{choice}}, a []string, or a handler's own slice of structs
// with the fields Value, Text and perhaps Hint, for texts that only the handler knows.
func choicesOf(v any) ([]choiceOption, error) {
	list := reflect.ValueOf(v)
	if !list.IsValid() {
		return nil, nil
	}
	if list.Kind() != reflect.Slice {
		return nil, fmt.Errorf("choices are a slice, not %T", v)
	}
	var out []choiceOption
	for i := range list.Len() {
		switch one := list.Index(i).Interface().(type) {
		case choiceOption:
			out = append(out, one)
		case string:
			out = append(out, choiceOption{Value: one, Text: one})
		default:
			c, err := choiceOf(reflect.Indirect(reflect.ValueOf(one)))
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
	}
	return out, nil
}

func choiceOf(v reflect.Value) (choiceOption, error) {
	if v.Kind() != reflect.Struct || !v.FieldByName("Value").IsValid() || !v.FieldByName("Text").IsValid() {
		return choiceOption{}, fmt.Errorf("a choice needs the fields Value and Text; %s has not", v.Type())
	}
	c := choiceOption{Value: fmt.Sprint(v.FieldByName("Value").Interface()), Text: fmt.Sprint(v.FieldByName("Text").Interface())}
	if hint := v.FieldByName("Hint"); hint.IsValid() {
		c.Hint = fmt.Sprint(hint.Interface())
	}
	return c, nil
}

// fill sets value, error and ids. What the user typed wins over the stored value, except
// for passwords and files, which are never sent back.
func (f formatter) fill(d *fieldData, page *Page, stored any) {
	values := valuesOf(stored)
	if typed, ok := page.values[d.Name]; ok || page.values != nil && d.Kind == "checkboxes" {
		values = typed
	}
	if d.Kind == "password" || d.Kind == "file" {
		values = nil
	}
	if len(values) > 0 {
		d.Value = values[0]
	}
	for i := range d.Choices {
		c := &d.Choices[i]
		c.Chosen = slices.Contains(values, c.Value)
		c.ID = d.ID // The first: where the error summary jumps to.
		if i > 0 {
			c.ID = fmt.Sprintf("%s-%d", d.ID, i+1)
		}
	}
	page.fields = append(page.fields, d.Name)
	d.Error = f.fieldError(page.refusal, d.Name)
	var ids []string
	if d.Hint != "" {
		ids = append(ids, d.ID+"-hint")
	}
	if d.Error != "" {
		ids = append(ids, d.ID+"-error")
	}
	if d.MaxLength > 0 && d.Kind == "textarea" {
		ids = append(ids, d.ID+"-info")
	}
	d.Described = strings.Join(ids, " ")
}

func valuesOf(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case []string:
		return v
	}
	return []string{fmt.Sprint(v)}
}

func (f formatter) fieldError(refusal *service.Error, name string) string {
	if refusal == nil || refusal.Fields[name] == "" {
		return ""
	}
	return f.messages.text(f.lang, refusal.Fields[name], refusal.Params)
}

// key is the hidden field that makes a form safe to send twice.
func key(page *Page) template.HTML {
	return template.HTML(`<input type="hidden" name="` + service.KeyField + `" value="` + template.HTMLEscapeString(page.Key) + `">`)
}
