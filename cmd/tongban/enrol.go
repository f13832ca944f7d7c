package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/enrol"
	"tongban/node/exit"
)

func newEnrol(a *app) *cobra.Command {
	var in node.EnrolRequest
	var requestFile, replyFile string
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "enrol TOKEN",
		Short: "Make this division a child of another",
		Long: `Asks the division that made the token (with "tongban child token") to certify this
division's authority and to be its parent. Run it on any running node of this division.
TOKEN "-" is read from standard input, so that it does not appear in the list of
processes. After a failure the same token can be tried again.

Where the parent approves each division, the command shows the key of this one, by which
it is known there, and waits. It may be ended, and repeated later with the same token.

Where there is no line yet, two files do the same: --request-file writes what is asked,
"tongban child answer" at the parent writes the reply, and --reply-file here takes it,
without the token.`,
		Example: "  tongban enrol - --dry-run < token\n  tongban enrol - --parent 198.51.100.7:7303 < token\n  tongban enrol - --request-file request.json < token\n  tongban enrol --reply-file reply.json",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case replyFile == "":
				return exactArgs("the token")(cmd, args)
			case requestFile != "":
				return exit.Usagef("say either --request-file or --reply-file")
			case len(args) > 0:
				return exit.Usagef("the reply needs no token: tongban enrol --reply-file FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, link := range in.Links {
				if err := enrol.CheckAddress(link); err != nil {
					return exit.Usagef("--parent: %w", err)
				}
			}
			if replyFile != "" {
				return a.enrolReplyFile(cmd.Context(), in, replyFile)
			}
			if in.Token = args[0]; in.Token == "-" {
				text, err := readToken(a.in)
				if err != nil {
					return fmt.Errorf("read the token: %w", err)
				}
				in.Token = text
			}
			if _, err := enrol.ParseToken(in.Token); err != nil {
				return exit.Usagef("%w", err)
			}
			switch {
			case requestFile != "" && len(in.Links) > 0:
				return exit.Usagef("say --parent later, with --reply-file")
			case requestFile != "":
				return a.enrolRequestFile(cmd.Context(), in, requestFile)
			}
			return a.enrolByLine(cmd.Context(), in, patience)
		},
	}
	cmd.Flags().StringSliceVar(&in.Links, "parent", nil, "host:port at which the parent's port for links is reached from here, if not at the address that it tells; may be repeated")
	cmd.Flags().StringVar(&requestFile, "request-file", "", "without a line: write what is asked to this file, which must not exist")
	cmd.Flags().StringVar(&replyFile, "reply-file", "", "without a line: take the parent's reply from this file")
	cmd.Flags().DurationVar(&patience, "wait", 24*time.Hour, "how long to wait for an administrator of the parent, where one has to approve")
	cmd.Flags().BoolVar(&in.Move, "move", false, "leave the parent that this division has for the one of the token; its history stays")
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "check everything, also with the parent, and change nothing")
	return a.addJSON(a.addDir(cmd))
}

const (
	// askAgain is the pause before a parent that has to approve is asked again the first time;
	// it doubles up to askAgainMax.
	askAgain    = 2 * time.Second
	askAgainMax = time.Minute
)

// enrolByLine has the node ask the parent, and goes on asking while that has to approve.
func (a *app) enrolByLine(ctx context.Context, in node.EnrolRequest, patience time.Duration) error {
	return a.with(func(c *client.Client) error {
		var reply node.EnrolReply
		until := time.Now().Add(patience)
		for pause := askAgain; ; pause = min(2*pause, askAgainMax) {
			err := c.Post(ctx, "/node/enrol", in, &reply)
			if err == nil {
				break
			}
			var p *client.Problem
			if !errors.As(err, &p) || p.Reason != string(enrol.Waiting) || time.Now().Add(pause).After(until) {
				return err
			}
			if pause == askAgain {
				fmt.Fprintf(a.err, "%s.\nThis command goes on by itself once that is done, until %s; it may be ended and repeated.\n", clean(p.Detail), localTime(until))
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(pause):
			}
		}
		if a.asJSON {
			return a.printJSON(reply)
		}
		a.printEnrolled(reply)
		return nil
	})
}

// readToken reads a token that may be wrapped, up to the end of the line with which it is
// whole: one that was scanned or pasted is not followed by an end of file.
func readToken(r io.Reader) (string, error) {
	lines := bufio.NewReader(io.LimitReader(r, 4096))
	var text strings.Builder
	for {
		line, err := lines.ReadString('\n')
		text.WriteString(line)
		if _, wrong := enrol.ParseToken(text.String()); wrong == nil || errors.Is(err, io.EOF) {
			return text.String(), nil
		}
		if err != nil {
			return "", err
		}
	}
}

func (a *app) printEnrolled(reply node.EnrolReply) {
	verb := "is now enrolled"
	switch {
	case reply.DryRun:
		verb = "can be enrolled"
	case reply.Again:
		verb = "was enrolled anew"
	}
	if !reply.Before.IsZero() {
		fmt.Fprintf(a.out, "It leaves %s.\n", reply.Before)
	}
	fmt.Fprintf(a.out, "This division (%s) %s at %s (%s).\nLine to it: %s\n", reply.Child, verb,
		clean(reply.Name), reply.Parent, clean(strings.Join(reply.Links, ", ")))
	if reply.Waits {
		fmt.Fprintln(a.out, "An administrator of the parent has to approve it.")
	}
	if !reply.DryRun && enrol.OnlyHere(reply.Links) {
		fmt.Fprintf(a.err, "\nThat address is of this machine alone. If the parent is on other boxes, set link.listen there and enrol again,\nor say its address with --parent.\n")
	}
}
