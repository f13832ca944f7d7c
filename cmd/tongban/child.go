package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tongban/federation"
	"tongban/node"
	"tongban/node/client"
)

func newChild(a *app) *cobra.Command {
	return group("child", "Enrol, approve, list, hold, free and revoke the divisions below this one",
		newChildToken(a), newChildAnswer(a), newChildList(a), newChildRevoke(a),
		newChildApprove(a), newChildRefuse(a), newChildPolicy(a),
		newChildChange(a, "hold", "Keep a child out until it is freed", `Closes the lines of a child at once and lets it in no more, until "tongban child free".
Nothing is lost: what it has to tell waits there, what is to be told to it waits here.`),
		newChildChange(a, "free", "Let a held child in again", `Lets a child in again. When it was held because two boxes showed its identity, or an old
copy of it was back, first switch the wrong one off: the one that comes next is believed.`))
}

func newChildList(a *app) *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:   "list",
		Short: "List the children, who waits to be one, and the tokens that were not used yet",
		Long: `Lists the divisions that are enrolled here. AS OF is the time that a child's figures are
of: until then, all that it had to tell has arrived.`,
		Example: "  tongban child list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				var list node.ChildList
				if err := c.Get(cmd.Context(), "/node/child", &list); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(list)
				}
				a.printChildren(list)
				return nil
			})
		},
	}))
}

func (a *app) printChildren(list node.ChildList) {
	if len(list.Children) == 0 && len(list.Waiting) == 0 {
		fmt.Fprintln(a.out, "No division is enrolled here. To enrol one, make a token for it:  tongban child token --code CODE")
	} else if len(list.Children) > 0 {
		t := table{head: []string{"CHILD", "NAME", "STATE", "SINCE", "AS OF", "AGE"}}
		for _, c := range list.Children {
			asOf, age := "never", "-"
			if c.Confirmed != nil {
				asOf, age = localTime(*c.Confirmed), ago(time.Duration(*c.Age)*time.Second)
			}
			t.add(c.Ref.String(), clean(c.Name), a.childState(c), localTime(c.Since), asOf, age)
		}
		t.print(a.out)
	}
	for _, c := range list.Children {
		if c.State == federation.Held {
			fmt.Fprintf(a.out, "%s is held: %s\n", c.Ref, heldReason(c.Reason, c.Ref.String()))
		}
	}
	a.printFormer(list.Former)
	a.printWaiting(list.Waiting)
	if len(list.Tokens) > 0 {
		fmt.Fprintln(a.out, "\nTokens that were not used yet:")
		t := table{head: []string{"FOR", "NAME", "UNTIL", ""}}
		for _, one := range list.Tokens {
			t.add(one.Ref.String(), clean(one.Name), localTime(one.Expires), map[bool]string{true: "replaces"}[one.Replace])
		}
		t.print(a.out)
	}
}

func (a *app) childState(c node.ChildStatus) string {
	switch {
	case c.State == federation.Held:
		return a.paint(red, "held")
	case c.Silent:
		return a.paint(yellow, "silent")
	case c.Confirmed == nil:
		return "new"
	}
	return a.paint(green, string(c.State))
}

// heldReason says why a child is held, and what to do.
func heldReason(reason, ref string) string {
	texts := map[string]string{
		federation.HeldDuplicate: "two boxes show its identity, or an old copy of it is back; switch the wrong one off, then run `tongban child free " + ref + "`",
		federation.HeldOperator:  "by command; run `tongban child free " + ref + "` to let it in again",
	}
	return cmp.Or(texts[reason], clean(reason)+"; run `tongban child free "+ref+"` to let it in again")
}

func newChildChange(a *app, verb, short, long string) *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:     verb + " CHILD",
		Short:   short,
		Long:    long,
		Example: "  tongban child " + verb + " county/511602",
		Args:    exactArgs("the child (its code, or level/code)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c *client.Client) error {
				var s node.ChildStatus
				if err := c.Post(cmd.Context(), "/node/child/"+verb, node.ChildRequest{Child: args[0]}, &s); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(s)
				}
				fmt.Fprintf(a.out, "%s (%s) is %s.\n", clean(s.Name), s.Ref, s.State)
				return nil
			})
		},
	}))
}

func localTime(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// ago is an age as people say it, in its largest unit.
func ago(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
