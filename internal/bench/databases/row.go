package databases

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Row is one line of the table. Pass is false when nothing was measured.
type Row struct {
	Row    string `json:"row"`
	Goal   string `json:"goal"`
	Figure string `json:"figure"`
	Pass   bool   `json:"pass"`
	Detail string `json:"detail,omitempty"` // What the figure was made of.
}

// noPeer is the figure of a row that compares, without a peer.
const noPeer = "no peer"

// quickFigure ends the figures of a quick run.
const quickFigure = " (quick: no verdict)"

// verdict is what the table says about the goal.
func (r Row) verdict() string {
	switch {
	case r.Pass:
		return "pass"
	case strings.HasPrefix(r.Figure, noPeer) || strings.HasSuffix(r.Figure, quickFigure):
		return "-"
	default:
		return "MISSED"
	}
}

// String is the table in Markdown, with what the figures were made of below it.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Machine: %s; all nodes and the load on them together.\n", r.Machine)
	if r.Peer != "" {
		fmt.Fprintf(&b, "Peer: %s.\n", r.Peer)
	}
	fmt.Fprint(&b, "\n| load | goal | figure | |\n|---|---|---|---|\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.Row, row.Goal, row.Figure, row.verdict())
	}
	fmt.Fprintln(&b)
	for _, row := range r.Rows {
		if row.Detail != "" {
			fmt.Fprintf(&b, "- %s: %s\n", row.Row, row.Detail)
		}
	}
	return b.String()
}

// WriteJSON writes the rows, one object a line.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, row := range r.Rows {
		if err := e.Encode(row); err != nil {
			return err
		}
	}
	return nil
}
