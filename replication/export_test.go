package replication

// Waiting is the number of updates in the queue whose callers wait.
func Waiting(db *DB) int { return db.queue.count(waiting) }

// Left is the number of updates in the queue whose callers have gone.
func Left(db *DB) int { return db.queue.count(left) }

func (q *queue) count(state int32) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, r := range q.waiting {
		if r.state.Load() == state {
			n++
		}
	}
	return n
}
