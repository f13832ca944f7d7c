package appliance

import (
	"context"
	"fmt"
	"time"

	"tongban/federation"
)

// soonFolded is how old a department's oldest row may be that the division's database does
// not have: it takes a moment, and no line is in between.
const soonFolded = 10 * time.Minute

// checkQueues: what waits for a line is the line's affair; what does not get on for another
// reason is found here.
func (p *patient) checkQueues(context.Context) Check {
	if p.tree == nil {
		return p.untold()
	}
	var stuck, slow []string
	size := 0
	for _, q := range p.tree.Queues {
		name := fmt.Sprintf("%s (%s)", q.Name, q.Of)
		switch q.Kind {
		case federation.QueueInbox:
			continue
		case federation.QueueParked:
			stuck = append(stuck, fmt.Sprintf("%d rows of %s", q.Size, name))
		case federation.QueueMail:
			if q.Stopped > 0 {
				stuck = append(stuck, fmt.Sprintf("%d mails of %s", q.Stopped, name))
			}
		case federation.QueueHome:
			if q.Age != nil && time.Duration(*q.Age)*time.Second > soonFolded {
				slow = append(slow, fmt.Sprintf("%d rows of %s", q.Size, name))
			}
		}
		size += q.Size
	}
	switch {
	case len(stuck) > 0:
		return found(Warn, "tongban queue show   # then, when what it names is mended: tongban queue redrive --all", "do not get on by themselves: %s", some(stuck))
	case len(slow) > 0:
		return found(Warn, "tongban status   # then look at the log of the division's leader", "have not reached the division's database for %s: %s", soonFolded, some(slow))
	}
	return fine("%d rows and mails wait, none is stuck", size)
}
