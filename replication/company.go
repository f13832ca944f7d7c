package replication

import "time"

// company decides whether a batch waits for more updates. Those who were just answered
// often come at once with the next one. A batch that is proposed before they are back
// holds only those that came while the last was under way, and so half of the writers
// would wait for the other half for ever: batches of half the size, and twice as many.
//
// It is used by the evaluator alone.
type company struct {
	under int           // Updates under way when the last batch was answered: its own, and those that waited.
	took  time.Duration // From its proposal to its outcome.
	alone int           // Waits in a row for which nobody came.
	skip  int           // Batches that wait for nobody, after such waits.
}

const (
	// waitShare is how much of the last batch's time a batch may wait for company: if
	// nobody comes, that is how much later its updates are answered.
	waitShare = 4
	// maxCompanyWait bounds that wait: whoever is not back by then is busy elsewhere.
	maxCompanyWait = 2 * time.Millisecond
	// maxAlone bounds how seldom a wait is tried that was in vain: one batch in 2^6.
	maxAlone = 6
)

// wait returns for how many more updates a batch of so many should wait, and how long;
// 0: for none.
func (c *company) wait(have int) (more int, d time.Duration) {
	if c.skip > 0 {
		c.skip--
		return 0, 0
	}
	d = min(c.took/waitShare, maxCompanyWait)
	if more = c.under - have; more <= 0 || d <= 0 {
		return 0, 0
	}
	return more, d
}

// came notes how many came of those that were waited for.
func (c *company) came(more, got int) {
	if 2*got >= more {
		c.alone = 0
		return
	}
	c.alone = min(c.alone+1, maxAlone)
	c.skip = 1 << c.alone
}

// answered notes the outcome of a batch: its size, how many wait by then, and how long its
// commit took.
func (c *company) answered(size, waiting int, took time.Duration) {
	c.under, c.took = size+waiting, took
}
