package appliance

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node"
	"tongban/node/client"
	"tongban/node/enrol"
	"tongban/node/trust"
)

// Tree is what a running node says about the divisions above and below its own.
type Tree struct {
	Parent   node.ParentStatus
	Children node.ChildList
	Queues   []federation.Queue
}

// askTree asks the admin socket about the tree.
func askTree(ctx context.Context, c *client.Client, t *Tree) error {
	if err := c.Get(ctx, "/node/parent", &t.Parent); err != nil {
		return err
	}
	if err := c.Get(ctx, "/node/child", &t.Children); err != nil {
		return err
	}
	var list node.QueueList
	err := c.Get(ctx, "/node/queue", &list)
	t.Queues = list.Queues
	return err
}

// untold is the check when the node cannot be asked about the tree.
func (p *patient) untold() Check {
	if p.status == nil {
		return fine("not asked: the node does not run")
	}
	return found(Warn, "tongban status", "the node does not say how it stands in the tree: %v", p.treeAsked)
}

func (p *patient) checkParent(context.Context) Check {
	if p.tree == nil {
		return p.untold()
	}
	s := p.tree.Parent
	if !s.Enrolled {
		return fine("this division has no parent")
	}
	fix := "tongban parent show"
	if len(s.Links) > 0 {
		if host, port, err := net.SplitHostPort(s.Links[0]); err == nil {
			fix = "nc -vz " + host + " " + port
		}
	}
	at := fmt.Sprintf("%s (%s) at %s", s.Name, s.Ref, strings.Join(s.Links, ", "))
	ended := p.o.Now().Sub(s.NotAfter)
	switch {
	case s.Held:
		return found(Bad, "tongban parent free   # when the wrong box is switched off",
			"two boxes show the identity of %s, or an old copy of it is back: nothing is taken from it", at)
	case ended > trust.Grace:
		return found(Bad, "tongban enrol -   # with a new token of the parent",
			"what %s certified of this division ended on %s, too long ago to be renewed over the line: figures and mails wait here", at, s.NotAfter.Format(time.DateOnly))
	case ended > 0:
		return found(Warn, fix, "what %s certified of this division ended on %s; it is renewed as soon as there is a line, until %s: figures and mails wait here",
			at, s.NotAfter.Format(time.DateOnly), s.NotAfter.Add(trust.Grace).Format(time.DateOnly))
	case !s.Connected:
		return found(Warn, fix, "no box of this division has a line to %s: figures and mails wait here", at)
	case !s.Here:
		return found(Warn, fix, "this box has no line to %s; another one of this division has, and sends for it", at)
	case p.o.Now().Add(soonAuthority).After(s.NotAfter):
		return found(Warn, "tongban parent show", "what %s certified of this division ends on %s, and should have been signed anew over the line years before: look at the logs of both",
			at, s.NotAfter.Format(time.DateOnly))
	}
	return fine("there is a line to %s", at)
}

func (p *patient) checkChildren(context.Context) Check {
	if p.tree == nil {
		return p.untold()
	}
	var held, silent, waiting []string
	var first division.Ref
	for _, w := range p.tree.Children.Waiting {
		waiting = append(waiting, fmt.Sprintf("%s (%s)", w.Name, w.Ref))
	}
	for _, c := range p.tree.Children.Children {
		name := fmt.Sprintf("%s (%s)", c.Name, c.Ref)
		switch {
		case c.State == federation.Held:
			if held = append(held, name+", "+c.Reason); len(held) == 1 {
				first = c.Ref
			}
		case c.Silent && c.Confirmed == nil:
			silent = append(silent, name+", never heard")
		case c.Silent:
			silent = append(silent, name+", as of "+c.Confirmed.UTC().Format(time.RFC3339))
		case !c.Connected:
			silent = append(silent, name+", no line")
		}
	}
	count := len(p.tree.Children.Children)
	switch {
	case len(held) > 0:
		return found(Warn, "tongban child free "+first.String()+"   # when the wrong box is switched off",
			"%d of %d children are held, and nothing is taken from them: %s", len(held), count, some(held))
	case len(waiting) > 0:
		return found(Warn, "tongban child list   # compare the keys, then tongban child approve", "waiting for approval (%d): %s", len(waiting), some(waiting))
	case len(silent) > 0:
		return found(Warn, "tongban child list   # then look at the boxes there with tongban doctor", "%d of %d children are silent: %s", len(silent), count, some(silent))
	case count == 0:
		return fine("none is enrolled here")
	}
	return fine("all %d are heard", count)
}

// checkTreeName: the parent lets in nobody by a name from before the enrolment.
func (p *patient) checkTreeName(context.Context) Check {
	switch {
	case p.tree == nil:
		return p.untold()
	case !p.tree.Parent.Enrolled:
		return fine("this division has no parent")
	case p.keys == nil:
		return found(Bad, "see keys", "the name cannot be read without the keys")
	}
	have, want := p.keys.TLS().Leaf.DNSNames, string(p.cfg.Node)+"."+p.tree.Parent.DNSName
	if len(have) != 1 || have[0] != want {
		return found(Warn, "tongban status   # the division's leader must be reached, which issues it",
			"the certificate of this node is still of %s, and the parent wants %s", strings.Join(have, ", "), want)
	}
	return fine("%s", want)
}

// checkLinkPort: the address of the port for children travels in tokens and over lines.
func (p *patient) checkLinkPort(context.Context) Check {
	if p.tree == nil {
		return p.untold()
	}
	address := p.cfg.Link.Advertise
	if address == "" {
		address = p.cfg.Link.Listen
	}
	waiting := len(p.tree.Children.Tokens)
	for _, c := range p.tree.Children.Children {
		if !c.Connected {
			waiting++
		}
	}
	switch {
	case len(p.tree.Children.Children)+len(p.tree.Children.Tokens) == 0:
		return fine("there are no children to reach it")
	case !enrol.OnlyHere([]string{address}) && !anyAddress(address):
		return fine("children are told %s", address)
	case waiting == 0:
		return fine("%s is of this machine alone, and so are all children", address)
	}
	return found(Warn, "tongban config show --origin --config "+p.cfg.File+"   # set link.listen or link.advertise to an address that the children reach, then: systemctl restart tongban",
		"children are told to connect to %s, which no other box can; %d have no line or are to enrol", address, waiting)
}

// anyAddress reports whether an address is one to listen on, and not one to dial.
func anyAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err != nil || host == "" || ip != nil && ip.IsUnspecified()
}
