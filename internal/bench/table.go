package bench

import (
	"fmt"
	"strings"
)

// String is the report as tables in Markdown, as docs/BENCH.md has them.
func (r Report) String() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	m := r.Machine
	say("Machine: %s, %d cores, %d MiB, Linux %s, %s; three nodes and the load on it together.", m.CPU, m.Cores, m.Memory, m.Kernel, m.Go)
	say("Binary: %.1f MB.", float64(r.Binary)/1e6)
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
	say("|---|---:|---:|---:|---:|---:|")
	for _, i := range r.Idle {
		say("| %s | %d | %.1f %% | %d MiB | %d | %d |", i.Node, i.Leads, i.CPU, i.RSS, i.Threads, i.Files)
	}
	return b.String()
}
