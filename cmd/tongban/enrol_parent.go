package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"tongban/node"
	"tongban/node/client"
)

func newParent(a *app) *cobra.Command {
	show := a.addJSON(a.addDir(&cobra.Command{
		Use:     "show",
		Short:   "Show the division at which this one is enrolled",
		Example: "  tongban parent show",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				var s node.ParentStatus
				if err := c.Get(cmd.Context(), "/node/parent", &s); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(s)
				}
				a.printParent(s)
				return nil
			})
		},
	}))
	free := a.addJSON(a.addDir(&cobra.Command{
		Use:   "free",
		Short: "Take from the parent again after two showed its identity",
		Long: `When two boxes show the parent's identity, or an old copy of it is back, this division
takes nothing from it any more. First have the wrong one switched off: the one that comes
next is believed, and all that it has is taken anew.`,
		Example: "  tongban parent free",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				var s node.ParentStatus
				if err := c.Post(cmd.Context(), "/node/parent/free", nil, &s); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(s)
				}
				fmt.Fprintf(a.out, "%s (%s) is believed again.\n", clean(s.Name), s.Ref)
				return nil
			})
		},
	}))
	return group("parent", "Show and free the division above this one", show, free)
}

func (a *app) printParent(s node.ParentStatus) {
	if !s.Enrolled {
		fmt.Fprintln(a.out, "This division has no parent. To get one, have a token made there (`tongban child token`) and run:  tongban enrol TOKEN")
		return
	}
	line := a.paint(yellow, "down")
	if s.Connected {
		line = a.paint(green, "up")
	}
	fmt.Fprintf(a.out, "%s (%s), since %s\nLine to it: %s, %s\nName of this division: %s\nCertificate until: %s, renewed by itself while there is a line\n",
		clean(s.Name), s.Ref, localTime(s.Since), clean(strings.Join(s.Links, ", ")), line, s.DNSName, localTime(s.NotAfter))
	if s.Left != nil {
		fmt.Fprintf(a.out, "%s: the parent revoked this division on %s; to come back, run `tongban enrol` with a new token of it\n", a.paint(red, "left"), localTime(*s.Left))
	}
	if s.Held {
		fmt.Fprintf(a.out, "%s: two boxes show its identity, or an old copy of it is back; have the wrong one switched off, then run `tongban parent free`\n", a.paint(red, "held"))
	}
}
