// Package sheet makes the page on which enrolment tokens are carried: for each division a
// card with the token as text and as a QR code, the command to type, and until when. It is
// one file of HTML that asks nobody for anything, laid out for A4, Chinese first.
//
// # Not here
//
// Who may have a token, and where the file is written, is the caller's: the page is as
// secret as what is on it.
package sheet

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"time"

	"rsc.io/qr"

	"tongban/division"
)

// Card is about one division.
type Card struct {
	Child   division.Ref
	Name    string // Of the child, for people.
	Token   string
	Expires time.Time
	Replace bool // The child is to take the place of the one that is enrolled.
}

// Page is a sheet.
type Page struct {
	Parent      division.Ref
	Name        string // Of the parent, for people.
	Fingerprint string // Of the parent's authority, hexadecimal.
	Made        time.Time
	Cards       []Card
}

//go:embed sheet.html
var source string

// beijing is the zone of every division; the lists have no other.
var beijing = time.FixedZone("", 8*60*60)

// scale is how many pixels a module of a QR code has in its picture. Printers that smooth
// do it less to larger ones.
const scale = 4

// Write writes the sheet.
func Write(w io.Writer, p Page) error {
	page, err := template.New("sheet").Funcs(template.FuncMap{
		"picture": picture,
		"time":    func(t time.Time) string { return t.In(beijing).Format("2006-01-02 15:04") },
	}).Parse(source)
	if err != nil {
		return fmt.Errorf("read the sheet's template: %w", err)
	}
	if err := page.Execute(w, p); err != nil {
		return fmt.Errorf("write the sheet: %w", err)
	}
	return nil
}

// picture is a token's QR code as a picture that stands in the page itself.
func picture(token string) (template.URL, error) {
	code, err := qr.Encode(token, qr.M)
	if err != nil {
		return "", fmt.Errorf("draw a QR code: %w", err)
	}
	code.Scale = scale
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(code.PNG())), nil
}
