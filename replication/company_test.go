package replication

import (
	"testing"
	"time"
)

func TestABatchWaitsForThoseWhoWereJustAnswered(t *testing.T) {
	var c company
	if more, _ := c.wait(1); more != 0 {
		t.Errorf("the first batch waits for %d", more)
	}
	c.answered(32, 32, 4*time.Millisecond) // Two halves that take turns.
	if more, d := c.wait(40); more != 24 || d != time.Millisecond {
		t.Errorf("waits for %d, %v", more, d)
	}
	c.answered(64, 0, 4*time.Second)
	if more, d := c.wait(63); more != 1 || d != maxCompanyWait {
		t.Errorf("waits for %d, %v", more, d)
	}
	if more, _ := c.wait(64); more != 0 {
		t.Errorf("all are there, and it waits for %d", more)
	}
}

func TestOneWriterWaitsForNobody(t *testing.T) {
	var c company
	for range 10 {
		if more, _ := c.wait(1); more != 0 {
			t.Fatalf("waits for %d", more)
		}
		c.answered(1, 0, time.Millisecond)
	}
}

func TestWhereNobodyComesWaitsBecomeRare(t *testing.T) {
	var c company
	waits := 0
	for range 1000 {
		c.answered(10, 10, time.Millisecond)
		if more, _ := c.wait(10); more > 0 {
			waits++
			c.came(more, 0)
		}
	}
	if waits > 25 {
		t.Errorf("%d of 1000 batches waited in vain", waits)
	}
	for c.skip > 0 {
		c.wait(0)
	}
	c.came(10, 9)
	if more, _ := c.wait(10); more != 10 {
		t.Errorf("after a wait that was worth it, it waits for %d", more)
	}
}

func TestTheQueueSaysWhenEnoughWait(t *testing.T) {
	q := queue{max: 10, start: func() {}}
	told := make(chan int)
	go func() { told <- q.await(2, time.Minute) }()
	for range 2 {
		if err := q.add(newJob()); err != nil {
			t.Fatal(err)
		}
	}
	if n := <-told; n != 2 {
		t.Errorf("%d wait", n)
	}
	if n := q.await(3, time.Microsecond); n != 2 || q.length() != 2 {
		t.Errorf("%d wait, of %d", n, q.length())
	}
}
