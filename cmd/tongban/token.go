package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"rsc.io/qr"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/exit"
	"tongban/node/join"
)

func newToken(a *app) *cobra.Command {
	var valid time.Duration
	var code bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a one-time token with which a box joins the division",
		Long: `Makes a token for one further box of this division. It can be used once, until it
expires, and pins the division's own certificate authority.`,
		Example: "  tongban token\n  tongban token --valid 2h --qr",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				var reply node.TokenReply
				if err := c.Post(cmd.Context(), "/node/token", node.TokenRequest{Valid: valid.String()}, &reply); err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(reply)
				}
				return a.printToken(reply, code)
			})
		},
	}
	cmd.Flags().DurationVar(&valid, "valid", node.DefaultTokenValid, "how long it can be used, at most 168h")
	cmd.Flags().BoolVar(&code, "qr", false, "show it as a QR code too")
	return a.addJSON(a.addDir(cmd))
}

func (a *app) printToken(reply node.TokenReply, code bool) error {
	fmt.Fprintf(a.out, "%s\n", reply.Token)
	fmt.Fprintf(a.err, "\nOn the new box, until %s:\n    tongban join TOKEN --dir DIR\nThe new box must show the fingerprint %s…\n",
		reply.Expires.Local().Format("2006-01-02 15:04"), fingerprint(reply.Fingerprint))
	if t, err := join.ParseToken(reply.Token); err == nil && t.OnlyHere() {
		fmt.Fprintf(a.err, "\nOnly boxes on this machine can use it: the node port listens on loopback. For others set peer.listen\n(and gossip.listen, web.listen) in tongban.toml to an address of this box, restart it, and make a new token.\n")
	}
	if !code {
		return nil
	}
	picture, err := qr.Encode(reply.Token, qr.L)
	if err != nil {
		return exit.Errorf(exit.Failed, "draw the QR code: %w", err)
	}
	fmt.Fprint(a.err, "\n"+drawQR(picture))
	return nil
}

// fingerprint groups the first 16 digits for people to compare.
func fingerprint(hex string) string {
	return strings.Join([]string{hex[:4], hex[4:8], hex[8:12], hex[12:16]}, " ")
}

// quietZone is the light frame that a scanner needs, in modules.
const quietZone = 2

// drawQR draws with half blocks, two rows of modules per line, dark on light whatever the
// terminal's colours.
func drawQR(c *qr.Code) string {
	var b strings.Builder
	for y := -quietZone; y < c.Size+quietZone; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -quietZone; x < c.Size+quietZone; x++ {
			switch top, bottom := c.Black(x, y), c.Black(x, y+1); {
			case top && bottom:
				b.WriteString("█")
			case top:
				b.WriteString("▀")
			case bottom:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}
