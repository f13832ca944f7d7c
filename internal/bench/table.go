package bench

import (
	"fmt"
	"strings"
)

// sayer writes a line, as fmt.Printf does.
type sayer func(format string, args ...any)

// String is the report as tables in Markdown, as docs/BENCH.md has them.
func (r Report) String() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("Machine: %s; all nodes and the load on them together.", r.Machine)
	say("Binary: %.1f MB.", float64(r.Binary)/1e6)
	if r.Tenants.Count > 0 {
		r.district(say)
	}
	if r.Federation != nil {
		r.Federation.say(say)
	}
	return b.String()
}

// district are the tables about the district.
func (r Report) district(say sayer) {
	say("")
	say("| What | Figure |")
	say("|---|---|")
	say("| %d tenants created, eight at once, until all are on three nodes | %.1f s |", r.Tenants.Count, r.Tenants.Seconds)
	say("| %d rows imported into existing tenants | %.0f ms |", r.Import.Rows, 1e3*r.Import.Seconds)
	say("| the same file once more (nothing changes) | %.0f ms |", 1e3*r.Import.AgainSeconds)
	say("| stop of a node in good order | %.1f s |", r.Restart.StopSeconds)
	say("| start of it, with %d raft entries: until it answers people | %.1f s |", r.Restart.Entries, r.Restart.ReadySeconds)
	say("| … until every database is at its leader's index | %.1f s |", r.Restart.CaughtUpSeconds)
	say("")
	say("| Applications through HTTP | clients | cases/s | p50 | p99 |")
	say("|---|---:|---:|---:|---:|")
	for _, l := range r.Loads {
		where := "one tenant"
		if l.Tenants > 1 {
			where = fmt.Sprintf("%d tenants", l.Tenants)
		}
		say("| %s | %d | %.0f | %.1f ms | %.1f ms |", where, l.Clients, l.PerSecond, l.P50, l.P99)
	}
	say("")
	say("| Idle node, %d tenants | leads | CPU of one core | RSS | threads | open files |", r.Tenants.Count)
	sayBoxes(say, r.Idle)
}

// sayBoxes are the rows about idle boxes.
func sayBoxes(say sayer, boxes []Idle) {
	say("|---|---:|---:|---:|---:|---:|")
	for _, i := range boxes {
		say("| %s | %d | %.1f %% | %d MiB | %d | %d |", i.Node, i.Leads, i.CPU, i.RSS, i.Threads, i.Files)
	}
}

// say are the tables about lines.
func (f *Federation) say(say sayer) {
	say("")
	say("| Line | figure | goal | |")
	say("|---|---:|---:|---|")
	for _, d := range f.Drains {
		say("| drain after an outage: %d %s, from the first connection (%.1f s after the heal) until the parent has acknowledged all, %.1f s, %d KB; CPU: parent %.1f s, child %.1f s | %.0f rows/s | ≥ %.0f | %s |",
			d.Rows, d.What, d.Dial, d.Seconds, d.Bytes>>10, d.ParentCPU, d.ChildCPU, d.PerSecond, goalDrain, met(d.PerSecond >= goalDrain))
	}
	for _, i := range f.Lines {
		say("| idle line of %s, %d node(s), %.0f s: %.0f bytes/s up, %.0f down, %.1f packets/s, %d new connections | %.0f bytes/s | ≤ %.0f | %s |",
			i.Child, i.Nodes, i.Seconds, i.Up, i.Down, i.Pieces, i.Opened, i.PerSecond(), goalIdle, met(i.PerSecond() <= goalIdle))
		say("| … with IP and TCP headers and an acknowledgement of each packet, at most | %.0f bytes/s | | |", i.OnTheWire())
	}
	if s := f.Slow; s.Seconds > 0 {
		say("| first sync of %d rows (%d items) over %d kbit/s and %d ms, seed %d: enrolled after %.1f s; %d KB up, %d KB down, %d connections, %d broken by the line | %.0f s | < %.0f s | %s |",
			s.Rows, s.Items, s.BitsPerSecond/1000, s.RoundTripMS, f.Seed, s.EnrolSeconds, s.Up>>10, s.Down>>10, s.Connections, s.Broken, s.Seconds, goalSlow.Seconds(),
			met(s.Seconds < goalSlow.Seconds()))
	}
	if l := f.Latency; l.Applications > 0 {
		say("| an application's receipt → counted at the parent, %d of them one by one | p50 %.0f ms, p99 %.0f ms | | |", l.Applications, l.P50, l.P99)
	}
	say("")
	say("| Idle box of the tree | leads | CPU of one core | RSS | threads | open files |")
	sayBoxes(say, f.Boxes)
}

func met(ok bool) string {
	if ok {
		return "met"
	}
	return "MISSED"
}
