package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/enrol"
	"tongban/node/enrol/sheet"
	"tongban/node/exit"
)

// childTokens are the flags of `tongban child token`.
type childTokens struct {
	in    node.ChildTokenRequest
	valid time.Duration
	list  string // File of divisions.
	sheet string // File to write.
}

func newChildToken(a *app) *cobra.Command {
	var o childTokens
	cmd := &cobra.Command{
		Use:   "token --code CODE | --file FILE",
		Short: "Make one-time tokens with which divisions below enrol",
		Long: `Makes a token for one division below this one, or for each division that a file lists. A
token can be used once, until it expires, by that division alone, and pins this division's
own certificate authority. A division that is enrolled already uses one to enrol again
after a loss; if its authority was lost too, the token needs --replace.

FILE is a CSV file with a code or a name on each line, or with a header that names the
columns code, name and level (代码, 名称, 级别). "-" is standard input. The whole file is
checked first: when one row is wrong, no token is made. Divisions that are enrolled already
are left out, unless --replace.

--sheet writes a page to print, readable by its owner alone: a card for each division with
the token as text and QR code. The tokens are then shown nowhere else.`,
		Example: "  tongban child token --code 511602\n  tongban child token --code 441900 --level county --valid 24h\n  tongban child token --file divisions.csv --sheet tokens.html",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.in.Code == "" && o.list == "":
				return exit.Usagef("say for which division: tongban child token --code CODE, or for which ones: --file FILE")
			case o.in.Code != "" && o.list != "":
				return exit.Usagef("say either --code or --file")
			case o.in.Level != "" && o.list != "":
				return exit.Usagef("--level is for --code; in a file the column \"level\" says it")
			}
			o.in.Valid = o.valid.String()
			if o.list != "" {
				return a.childTokensOf(cmd.Context(), o)
			}
			return a.childTokenOf(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.in.Code, "code", "", "code of the division, 6 digits")
	cmd.Flags().StringVar(&o.in.Level, "level", "", "its level, where the code has two")
	cmd.Flags().StringVar(&o.list, "file", "", "CSV file of divisions, codes or names")
	cmd.Flags().StringVar(&o.sheet, "sheet", "", "file of HTML to write the tokens to, for printing; it must not exist")
	cmd.Flags().DurationVar(&o.valid, "valid", node.DefaultChildTokenValid, "how long it can be used, at most 720h")
	cmd.Flags().BoolVar(&o.in.Replace, "replace", false, "another authority may take the place of the one that is enrolled now")
	cmd.Flags().BoolVar(&o.in.DryRun, "dry-run", false, "check everything, make no token")
	return a.addJSON(a.addDir(cmd))
}

// childTokenOf makes the token of one division.
func (a *app) childTokenOf(ctx context.Context, o childTokens) error {
	var status node.Status
	var reply node.ChildTokenReply
	err := a.toSheet(o, func(c *client.Client) (sheet.Page, error) {
		if o.sheet != "" {
			if err := c.Get(ctx, "/node/status", &status); err != nil {
				return sheet.Page{}, err
			}
		}
		err := c.Post(ctx, "/node/child/token", o.in, &reply)
		p := sheet.Page{Name: status.Division.Full, Fingerprint: reply.Fingerprint, Made: status.Clock, Cards: cards(reply)}
		if t, err := enrol.ParseToken(reply.Token); err == nil {
			p.Parent = t.Parent
		}
		return p, err
	})
	if err != nil {
		return err
	}
	if o.sheet != "" {
		reply.Token = ""
	}
	if a.asJSON {
		return a.printJSON(reply)
	}
	a.printChildToken(reply, o)
	return nil
}

// childTokensOf makes a token for each division of a file.
func (a *app) childTokensOf(ctx context.Context, o childTokens) error {
	rows, err := a.readDivisions(o.list)
	if err != nil {
		return err
	}
	var reply node.ChildTokensReply
	err = a.toSheet(o, func(c *client.Client) (sheet.Page, error) {
		in := node.ChildTokensRequest{Rows: rows, Valid: o.in.Valid, Replace: o.in.Replace, DryRun: o.in.DryRun}
		err := c.Post(ctx, "/node/child/tokens", in, &reply)
		return sheet.Page{Parent: reply.Parent, Name: reply.Name, Fingerprint: reply.Fingerprint, Made: reply.Made, Cards: cards(reply.Tokens...)}, err
	})
	if err != nil {
		return err
	}
	if o.sheet != "" {
		for i := range reply.Tokens {
			reply.Tokens[i].Token = ""
		}
	}
	if a.asJSON {
		err = a.printJSON(reply)
	} else {
		err = a.printChildTokens(reply, o)
	}
	if n := len(reply.Bad); n > 0 {
		return errors.Join(err, exit.Errorf(exit.Failed, "%d of %d rows of %s cannot be used; no token was made", n, len(rows), o.list))
	}
	return err
}

func cards(list ...node.ChildTokenReply) []sheet.Card {
	var out []sheet.Card
	for _, r := range list {
		if r.Token != "" {
			out = append(out, sheet.Card{Child: r.Child, Name: r.Name, Token: r.Token, Expires: r.Expires, Replace: r.Replace})
		}
	}
	return out
}

func (a *app) readDivisions(name string) ([]enrol.Row, error) {
	var r io.Reader = a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, exit.Usagef("open the list of divisions: %w", err)
		}
		defer f.Close()
		r = f
	}
	rows, err := enrol.ReadRows(r)
	if err != nil {
		return nil, exit.Errorf(exit.Failed, "%s: %w", name, err)
	}
	return rows, nil
}

// toSheet makes tokens, and writes them to the sheet when there is to be one.
func (a *app) toSheet(o childTokens, make func(c *client.Client) (sheet.Page, error)) error {
	if o.sheet == "" {
		return a.with(func(c *client.Client) error { _, err := make(c); return err })
	}
	return intoFile(o.sheet, 0o600, func(f *os.File) (keep bool, err error) {
		err = a.with(func(c *client.Client) error {
			p, err := make(c)
			if err != nil || len(p.Cards) == 0 {
				return err
			}
			if err := errors.Join(sheet.Write(f, p), f.Sync()); err != nil {
				return fmt.Errorf("%w; the tokens were made, but nobody can read them: make new ones, these end by themselves", err)
			}
			keep = true
			return nil
		})
		return keep, err
	})
}

// intoFile has a new file written, and removes it unless it is to be kept. The file is made
// before anything is done: what cannot be written down is not to be done.
func intoFile(name string, mode fs.FileMode, write func(f *os.File) (keep bool, err error)) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return exit.Usagef("%s is there already; choose another name, or remove it", name)
	case err != nil:
		return exit.Usagef("make the file: %w", err)
	}
	keep, err := write(f)
	err = errors.Join(err, f.Close())
	if !keep || err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

func (a *app) printChildToken(reply node.ChildTokenReply, o childTokens) {
	switch {
	case o.in.DryRun:
		fmt.Fprintf(a.out, "A token can be made for %s (%s).\n", clean(reply.Name), reply.Child)
	case o.sheet != "":
		fmt.Fprintf(a.out, "%s has the token for %s (%s), to be used once, until %s.\n", o.sheet, clean(reply.Name), reply.Child, localTime(reply.Expires))
	default:
		fmt.Fprintf(a.out, "%s\n", reply.Token)
		fmt.Fprintf(a.err, "\nFor %s (%s), once, until %s. On a node of that division:\n    tongban enrol TOKEN\n",
			clean(reply.Name), reply.Child, localTime(reply.Expires))
	}
	switch {
	case reply.Enrolled && reply.Replace:
		fmt.Fprintf(a.err, "\nThis division is enrolled here already: whoever uses the token takes its place, with an authority of his own.\n")
	case reply.Enrolled:
		fmt.Fprintf(a.err, "\nThis division is enrolled here already; with the token it can enrol again, with the same authority.\n")
	}
	a.warnLocal(reply)
}

// printChildTokens writes the tokens as CSV, unless a sheet has them, and what else there
// is to say beside them.
func (a *app) printChildTokens(reply node.ChildTokensReply, o childTokens) error {
	for _, r := range reply.Bad {
		fmt.Fprintf(a.err, "line %d: %s: %s\n", r.Line, clean(r.Text), clean(r.Problem))
	}
	if len(reply.Bad) > 0 {
		return nil
	}
	for _, r := range reply.Enrolled {
		fmt.Fprintf(a.err, "line %d: %s is enrolled already; left out\n", r.Line, r.Child)
	}
	switch n := len(reply.Tokens); {
	case n == 0:
		fmt.Fprintln(a.err, "No token is needed: every division of the list is enrolled already.")
		return nil
	case o.in.DryRun:
		fmt.Fprintf(a.out, "%d tokens can be made.\n", n)
	case o.sheet != "":
		fmt.Fprintf(a.out, "%s has %d tokens, to be used until %s. Print it, hand each card to its division alone, then remove the file.\n",
			o.sheet, n, localTime(reply.Tokens[0].Expires))
	default:
		w := csv.NewWriter(a.out)
		_ = w.Write([]string{"code", "level", "name", "until", "token"}) // Its errors stay until Error.
		for _, r := range reply.Tokens {
			_ = w.Write([]string{string(r.Child.Code), r.Child.Level.String(), r.Name, r.Expires.Format(time.RFC3339), r.Token})
		}
		w.Flush()
		if err := w.Error(); err != nil {
			return err
		}
	}
	a.warnLocal(reply.Tokens[0])
	return nil
}

// warnLocal says when no other box could use a token.
func (a *app) warnLocal(reply node.ChildTokenReply) {
	switch {
	case reply.LocalPorts:
		fmt.Fprintf(a.err, "\nOnly boxes on this machine can use it: the node port listens on loopback. For others set peer.listen (and\nlink.listen) in tongban.toml to an address of this box, restart it, and make a new token.\n")
	case reply.LocalLinks:
		fmt.Fprintf(a.err, "\nThe port for links listens on loopback: a division on other boxes could not keep a line to this one. Set\nlink.listen in tongban.toml to an address of this box and restart it, before the token is used.\n")
	}
}
