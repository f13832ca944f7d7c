package federation

import "testing"

// A change goes to hundreds of children at once: few batches in memory are large, and no
// sender waits for another, whose line may be stuck.
func TestFewBatchesAreLarge(t *testing.T) {
	f := New(Options{Self: top, Letters: letters{top}})
	var gives []func()
	large := 0
	for range 300 {
		s := f.newSender(nil, west, "down")
		s.size = maxBatch
		size, give := s.share()
		if size == maxBatch {
			large++
		} else if size != firstBatch {
			t.Fatalf("a batch of %d bytes", size)
		}
		gives = append(gives, give)
	}
	if large != maxLarge {
		t.Errorf("%d batches are large, want %d", large, maxLarge)
	}
	for _, give := range gives {
		give()
	}
	s := f.newSender(nil, west, "down")
	s.size = maxBatch
	if size, _ := s.share(); size != maxBatch {
		t.Errorf("when all were sent, a batch has %d bytes", size)
	}
	s.size = leastBatch
	if size, _ := s.share(); size != leastBatch {
		t.Errorf("a poor line gets a batch of %d bytes", size)
	}
}
