package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tongban/division"
	"tongban/node"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/replication"
)

// addAddresses adds the flags of a new node's addresses.
func addAddresses(cmd *cobra.Command, a *node.Addresses) {
	f := cmd.Flags()
	f.StringVar(&a.Web, "web", "", "port for people, host:port (default 127.0.0.1:8080)")
	f.StringVar(&a.WebURL, "url", "", "what people type to get here, such as https://fuwu.example")
	f.StringVar(&a.WebTLS, "web-tls", "", "self, files or off (default: off on a loopback address, else self)")
	f.StringVar(&a.Peer, "listen", "", "node port, host:port (default 127.0.0.1:7301)")
	f.StringVar(&a.PeerAdvertise, "advertise", "", "address at which other nodes reach the node port")
	f.StringVar(&a.Gossip, "gossip", "", "gossip port, host:port (default 127.0.0.1:7302)")
	f.StringVar(&a.GossipAdvertise, "gossip-advertise", "", "address at which other nodes reach the gossip port")
	f.StringVar(&a.Link, "link", "", "port for the lines of child divisions, host:port (default 127.0.0.1:7303)")
	f.StringVar(&a.Databases, "databases", "", "port for programs that use application databases, host:port (default: none)")
	f.StringVar(&a.LinkAdvertise, "link-advertise", "", "address at which child divisions reach it")
}

func newInit(a *app) *cobra.Command {
	var o node.InitOptions
	var id, recovery string
	cmd := &cobra.Command{
		Use:   "init --division CODE --dir DIR",
		Short: "Make the first node of a division",
		Long: `Makes the folder of a division's first node: keys, the division's certificate
authority, the configuration. Prints, once, the code for the first administrator and the
recovery kit, which opens the division's secrets when all boxes are lost: keep it on
paper, apart from the boxes.`,
		Example: `  tongban init --division 511602 --dir /srv/tongban
  tongban init --division 441900 --level city --dir /srv/tongban --web 192.0.2.10:443 \
      --listen 192.0.2.10:7301 --gossip 192.0.2.10:7302 --recovery-file /media/stick/recovery.txt`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if o.Division == "" || o.Dir == "" {
				return exit.Usagef("say which division and where: tongban init --division 511602 --dir DIR")
			}
			o.Node = replication.NodeID(id)
			if err := a.askLevel(&o); err != nil {
				return err
			}
			return a.init(o, recovery)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Division, "division", "", "code of the division, 6 digits")
	f.StringVar(&o.Level, "level", "", "national, province, city or county, where the code has two")
	f.StringVar(&o.Dir, "dir", "", "folder to make")
	f.StringVar(&id, "node", "n1", "name of the node")
	f.StringVar(&recovery, "recovery-file", "", "write the recovery kit to a file instead of printing it")
	addAddresses(cmd, &o.Addresses)
	return cmd
}

// askLevel asks which division is meant when the code has two and a person can be asked;
// without a terminal, Init refuses and names the flag.
func (a *app) askLevel(o *node.InitOptions) error {
	candidates, err := division.Lookup(o.Division)
	if o.Level != "" || err != nil || len(candidates) < 2 || !a.interactive() {
		return nil // What is wrong with the code, Init says.
	}
	fmt.Fprintf(a.err, "%s is more than one division:\n", o.Division)
	for i, d := range candidates {
		fmt.Fprintf(a.err, "  %d  %s (%s)\n", i+1, d.FullName(), d.Level)
	}
	fmt.Fprintf(a.err, "Which one? [1-%d] ", len(candidates))
	var n int
	if _, err := fmt.Fscanln(a.in, &n); err != nil || n < 1 || n > len(candidates) {
		return exit.Usagef("answer with a number from 1 to %d, or say --level", len(candidates))
	}
	o.Level = candidates[n-1].Level.String()
	return nil
}

func (a *app) init(o node.InitOptions, recoveryFile string) error {
	var kit *os.File
	if recoveryFile != "" { // Before anything is made: it must not fail afterwards.
		var err error
		if kit, err = os.OpenFile(recoveryFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
			return exit.Usagef("make the recovery file: %w", err)
		}
		defer kit.Close()
	}
	r, err := node.Init(o)
	if err != nil {
		if kit != nil {
			_ = os.Remove(recoveryFile)
		}
		return err
	}
	fmt.Fprintf(a.out, "Node %s of %s (%s, %s) is in %s.\n\n", r.Config.Node, r.Division.FullName(), r.Division.Code, r.Division.Level, r.Config.Dir())
	if socket, moved := r.Config.AdminSocket(); moved {
		fmt.Fprintf(a.out, "The folder's path is too long for a socket; the admin socket will be %s.\n\n", socket)
	}
	text := fmt.Sprintf("# Recovery kit of tongban division %s (%s %s). It opens the division's secrets.\n%s\n",
		r.Division.Code, r.Division.Level, r.Division.FullName(), r.Recovery)
	if kit != nil {
		if _, err := kit.WriteString(text); err != nil {
			return fmt.Errorf("write the recovery kit, which is now lost; remove %s and begin again: %w", o.Dir, err)
		}
		if err := kit.Sync(); err != nil {
			return fmt.Errorf("write the recovery kit, which is now lost; remove %s and begin again: %w", o.Dir, err)
		}
		fmt.Fprintf(a.out, "Recovery kit: written to %s. Keep it apart from the boxes.\n\n", recoveryFile)
	} else {
		fmt.Fprintf(a.out, "Recovery kit: shown once and kept nowhere. Write it down, keep it apart from the boxes:\n\n    %s\n\n", r.Recovery)
	}
	fmt.Fprintf(a.out, "Code for the first administrator, at /first-boot of the portal; shown once:\n\n    %s\n\n", a.paint(bold, r.FirstBoot))
	fmt.Fprintf(a.out, "Start it:  %s\n", runCommand(r.Config))
	return nil
}

// shellQuote writes a file name so that it can be pasted into a shell.
func shellQuote(name string) string {
	for _, r := range name {
		if !(r == '/' || r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r > 0x7f) {
			return fmt.Sprintf("%q", name)
		}
	}
	return name
}

// runCommand is what starts the node.
func runCommand(cfg config.Config) string { return "tongban run --config " + shellQuote(cfg.File) }
