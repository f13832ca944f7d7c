package catalog

import (
	"slices"
	"strings"
)

// Kind names one thing that is wrong with a row. Its message is "catalog.reason.<kind>".
type Kind string

// Kinds of reason. Those that are about the body's code, about the reading of the row,
// its name, its item code or a second row of the same item keep a row in quarantine; the
// others are notes on a published item.
const (
	BodyEmpty     Kind = "body_empty"    // No code.
	BodyLength7   Kind = "body_7"        // 7 characters: part of an organisation code.
	BodyLength9   Kind = "body_9"        // 9 characters, with or without hyphen: an organisation code (GB 11714).
	BodyLength10  Kind = "body_10"       // 10 characters.
	BodyLength13  Kind = "body_13"       // 13 characters.
	BodyLength17  Kind = "body_17"       // 17 characters: one is missing.
	BodyLength    Kind = "body_length"   // Another length, in Params["n"].
	BodyPseudo    Kind = "body_pseudo"   // TE… or one character repeated: a stand-in.
	BodyLowerCase Kind = "body_lower"    // A lower-case letter.
	BodyAlphabet  Kind = "body_alphabet" // A character that no credit code has.
	BodyCheck     Kind = "body_check"    // The check character is wrong.
	Unparsed      Kind = "unparsed"      // The item code was not taken apart.
	NameEmpty     Kind = "name_empty"    //
	NameLong      Kind = "name_long"     // Longer than MaxName.
	CodeEmpty     Kind = "code_empty"    // No item code.
	CodeLong      Kind = "code_long"     // Longer than MaxCode.
	CodeForm      Kind = "code_form"     // Characters that no item code has.
	Duplicate     Kind = "duplicate"     // Params["line"]: the row that has the same code.
	Columns       Kind = "columns"       // Another number of fields than the header.
	Quotes        Kind = "quotes"        // A quotation mark that is not closed or stands inside a field.
	Oversized     Kind = "oversized"     // The line is longer than MaxRow.
	NotUTF8       Kind = "not_utf8"      //
	Control       Kind = "control"       // Control or direction characters.
	NoDepartment  Kind = "no_department" // The department's name could not be read.
	Elsewhere     Kind = "elsewhere"     // A row of another department, in Params["department"].
	TextLong      Kind = "text_long"     // Of the basic catalog: a text of Params["n"] characters.
	NoNumber      Kind = "no_number"     // Of the basic catalog: days that are no number.
	AreaOther     Kind = "area"          // Note: the area code of another division.
	NoBasicCode   Kind = "no_basic_code" // Note.
	TypeUnknown   Kind = "type_unknown"  // Note.
	BodyMismatch  Kind = "body_mismatch" // Note: the item code contains another body code.
)

// notes are the kinds that do not keep a row in quarantine.
var notes = []Kind{Unparsed, AreaOther, NoBasicCode, TypeUnknown, BodyMismatch}

// bodyKinds are the kinds that a replacement of the body's code repairs.
func (k Kind) ofBody() bool { return strings.HasPrefix(string(k), "body_") && k != BodyMismatch }

// blocks reports whether the kind keeps a row in quarantine.
func (k Kind) blocks() bool { return !slices.Contains(notes, k) }

// Message returns the key of the kind's message.
func (k Kind) Message() string { return "catalog.reason." + string(k) }

// Reason is one thing that is wrong with a row.
type Reason struct {
	Kind   Kind           `json:"kind"`
	Params map[string]any `json:"params,omitempty"`
}

// because makes a reason; params are pairs of name and value.
func because(kind Kind, params ...any) Reason {
	r := Reason{Kind: kind}
	for i := 0; i+1 < len(params); i += 2 {
		if r.Params == nil {
			r.Params = map[string]any{}
		}
		r.Params[params[i].(string)] = params[i+1]
	}
	return r
}

func hasKind(reasons []Reason, kind Kind) bool {
	return slices.ContainsFunc(reasons, func(r Reason) bool { return r.Kind == kind })
}

// blocked reports whether any of the reasons keeps a row in quarantine.
func blocked(reasons []Reason) bool {
	return slices.ContainsFunc(reasons, func(r Reason) bool { return r.Kind.blocks() })
}

// beyondBody returns the reasons that no body code repairs.
func beyondBody(reasons []Reason) []Reason {
	return slices.DeleteFunc(slices.Clone(reasons), func(r Reason) bool { return r.Kind.ofBody() })
}

// kindsOf joins the kinds of the reasons that keep the row in quarantine, in order: what
// the quarantine is grouped by.
func kindsOf(reasons []Reason) string {
	var out []string
	for _, r := range reasons {
		if r.Kind.blocks() && !slices.Contains(out, string(r.Kind)) {
			out = append(out, string(r.Kind))
		}
	}
	return strings.Join(out, " ")
}
