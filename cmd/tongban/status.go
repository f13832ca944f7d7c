package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/exit"
	"tongban/tenancy"
)

func newStatus(a *app) *cobra.Command {
	return a.addJSON(a.addDir(&cobra.Command{
		Use:     "status",
		Short:   "Show the condition of a running node",
		Long:    `Shows the node, the others of its division, its databases, certificate, disk and clock. The exit code is 3 when something needs a look.`,
		Example: "  tongban status\n  tongban status --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c *client.Client) error {
				var s node.Status
				if err := c.Get(cmd.Context(), "/node/status", &s); err != nil {
					return err
				}
				if a.asJSON {
					if err := a.printJSON(s); err != nil {
						return err
					}
				} else {
					a.printStatus(s)
				}
				if len(s.Problems) > 0 {
					return &exit.Error{Code: exit.Degraded, Err: &quiet{}}
				}
				return nil
			})
		},
	}))
}

func (a *app) printStatus(s node.Status) {
	fmt.Fprintf(a.out, "%s of %s (%s, %s)   tongban %s, up %s, pid %d\n", a.paint(bold, string(s.Node)), s.Division.Full,
		s.Division.Code, s.Division.Level, s.Version, short(time.Duration(s.Uptime)*time.Second), s.PID)
	fmt.Fprintf(a.out, "web %s   node port %s   data %s\n", s.Web, s.Peer, s.Data)
	fmt.Fprintf(a.out, "certificate %d days left   disk %s free of %s   clock %s\n\n",
		s.Certificate.Days, size(s.Disk.Free), size(s.Disk.Total), s.Clock.Format(time.RFC3339))
	if len(s.Peers) > 0 {
		t := table{head: []string{"NODE", "STATE", "ADDRESS", "LAST CONTACT"}}
		for _, p := range s.Peers {
			state := a.paint(green, "up")
			if !p.Up {
				state = a.paint(red, "down")
			}
			contact := "never"
			if !p.LastContact.IsZero() {
				contact = short(s.Clock.Sub(p.LastContact)) + " ago"
			}
			t.add(string(p.Node), state, p.Address, contact)
		}
		t.print(a.out)
		fmt.Fprintln(a.out)
	}
	a.printDatabases(s)
	for _, p := range s.Problems {
		fmt.Fprintln(a.out, a.paint(yellow, "! "+clean(p)))
	}
	if len(s.Problems) == 0 {
		fmt.Fprintln(a.out, a.paint(green, "all is well"))
	}
}

// printDatabases lists the databases of the services, and those application databases that
// need a look; of the others it says how many there are.
func (a *app) printDatabases(s node.Status) {
	t := table{head: []string{"DATABASE", "ROLE", "LEADER", "APPLIED", "LAG", "VOTERS"}}
	well, led := 0, 0
	for _, d := range s.Databases {
		if tenancy.IsApplication(d.Database) && d.Leader != "" && d.Err == "" {
			well++
			if d.Leader == s.Node {
				led++
			}
			continue
		}
		leader, lag := string(d.Leader), "?"
		if leader == "" {
			leader = a.paint(red, "none")
		}
		if d.Lag != nil {
			lag = strconv.FormatInt(*d.Lag, 10)
		}
		t.add(string(d.Database), d.Role, leader, strconv.FormatUint(uint64(d.Applied), 10), lag, fmt.Sprint(len(d.Voters)))
	}
	t.print(a.out)
	if well > 0 {
		fmt.Fprintf(a.out, "%d application databases are well, %d of them led here (tongban db list, tongban status --json)\n", well, led)
	}
	fmt.Fprintln(a.out)
}

// short writes a duration as people say it.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd %dh", int(d.Hours())/24, int(d.Hours())%24)
}

// size writes bytes as people read them.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for f >= unit && i < 4 {
		f, i = f/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}
