package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/enrol"
	"tongban/node/exit"
)

// readEnrolFile reads one half of an enrolment that was carried.
func readEnrolFile(name string, want enrol.Kind) (enrol.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return enrol.File{}, exit.Usagef("open the file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, enrol.MaxFile+1))
	if err != nil {
		return enrol.File{}, exit.Errorf(exit.Failed, "read the file: %w", err)
	}
	file, err := enrol.DecodeFile(data, want)
	if err != nil {
		return file, exit.Usagef("%s cannot be used: %w", name, err)
	}
	return file, nil
}

// writeEnrolFile writes what make returns to a new file; nothing after a dry run.
func writeEnrolFile(name string, dryRun bool, make func() (enrol.File, error)) error {
	return intoFile(name, 0o644, func(f *os.File) (keep bool, err error) {
		file, err := make()
		if err != nil || dryRun {
			return false, err
		}
		text, err := file.Encode()
		if err != nil {
			return false, err
		}
		_, err = f.Write(text)
		if err = errors.Join(err, f.Sync()); err != nil { // The stick is pulled out soon.
			return false, fmt.Errorf("write the file: %w; repeat the command", err)
		}
		return true, nil
	})
}

// enrolRequestFile writes the file of a request.
func (a *app) enrolRequestFile(ctx context.Context, in node.EnrolRequest, name string) error {
	var reply node.EnrolFile
	err := writeEnrolFile(name, in.DryRun, func() (enrol.File, error) {
		err := a.with(func(c *client.Client) error { return c.Post(ctx, "/node/enrol/request", in, &reply) })
		return reply.File, err
	})
	if err != nil {
		return err
	}
	if a.asJSON {
		return a.printJSON(reply)
	}
	if reply.DryRun {
		fmt.Fprintf(a.out, "This division (%s) can ask %s (%s) by a file.\n", reply.File.Child, clean(reply.Name), reply.File.Parent)
		return nil
	}
	fmt.Fprintf(a.out, "%s asks %s (%s) to enrol this division. It has no secret. Carry it there, and have it answered until %s:\n    tongban child answer FILE --reply-file REPLY\nThen carry the reply back:\n    tongban enrol --reply-file REPLY\nWho has to approve it there compares the key of this division: %s\n",
		name, clean(reply.Name), reply.File.Parent, localTime(reply.Expires), clean(reply.Key))
	return nil
}

// enrolReplyFile enrols by the file of a reply.
func (a *app) enrolReplyFile(ctx context.Context, in node.EnrolRequest, name string) error {
	file, err := readEnrolFile(name, enrol.ReplyFile)
	if err != nil {
		return err
	}
	return a.with(func(c *client.Client) error {
		var reply node.EnrolReply
		if err := c.Post(ctx, "/node/enrol/reply", node.EnrolFromFile{File: file, Links: in.Links, DryRun: in.DryRun}, &reply); err != nil {
			return err
		}
		if a.asJSON {
			return a.printJSON(reply)
		}
		a.printEnrolled(reply)
		return nil
	})
}

func newChildAnswer(a *app) *cobra.Command {
	var to string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "answer FILE --reply-file REPLY",
		Short: "Enrol a division below by the file with which it asks",
		Long: `Enrols the division that wrote FILE with "tongban enrol TOKEN --request-file", as it would
be over the line, and writes the reply, which is to be carried back. The same file can be
answered again. Neither file has a secret; the token's secret proves both.`,
		Example: "  tongban child answer request.json --reply-file reply.json",
		Args:    exactArgs("the file of the request"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return exit.Usagef("say where to write the reply: tongban child answer FILE --reply-file REPLY")
			}
			file, err := readEnrolFile(args[0], enrol.RequestFile)
			if err != nil {
				return err
			}
			var reply node.ChildAnswerReply
			err = writeEnrolFile(to, dryRun, func() (enrol.File, error) {
				err := a.with(func(c *client.Client) error {
					return c.Post(cmd.Context(), "/node/child/answer", node.ChildAnswerRequest{File: file, DryRun: dryRun}, &reply)
				})
				return reply.File, err
			})
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(reply)
			}
			a.printChildAnswer(reply, to)
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "reply-file", "", "file to write the reply to; it must not exist")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check everything, change and write nothing")
	return a.addJSON(a.addDir(cmd))
}

func (a *app) printChildAnswer(reply node.ChildAnswerReply, to string) {
	switch {
	case reply.DryRun && reply.Waits:
		fmt.Fprintf(a.out, "%s (%s) can be enrolled, once it was approved.\n", clean(reply.Name), reply.Child)
	case reply.DryRun:
		fmt.Fprintf(a.out, "%s (%s) can be enrolled.\n", clean(reply.Name), reply.Child)
	case reply.Again:
		fmt.Fprintf(a.out, "%s (%s) was answered before; %s has the same reply again. Carry it back and run there:\n    tongban enrol --reply-file %[3]s\n", clean(reply.Name), reply.Child, to)
	default:
		fmt.Fprintf(a.out, "%s (%s) is enrolled. Carry %s back and run there:\n    tongban enrol --reply-file %[3]s\n", clean(reply.Name), reply.Child, to)
	}
	if reply.LocalLinks {
		fmt.Fprintf(a.err, "\nThe port for links listens on loopback: a division on other boxes cannot get a line to this one. Set\nlink.listen in tongban.toml to an address of this box and restart it.\n")
	}
}
