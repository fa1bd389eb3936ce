package state

import (
	"fmt"
	"testing"
	"time"
)

// The list is bounded, and an entry that falls off its end is not announced again.
func TestAnnouncedBounded(t *testing.T) {
	a := new(AnnounceLog)
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	for n := range 3 * maxAnnounced {
		key := fmt.Sprint("dump ", n)
		if a.Has(key, at(n)) {
			t.Fatalf("%s is known", key)
		}
		a.Add(key, at(n))
		a.Add("pstore", time.Time{})
	}
	if len(a.List) != maxAnnounced {
		t.Errorf("%d entries", len(a.List))
	}
	for n := range 3 * maxAnnounced {
		if key := fmt.Sprint("dump ", n); !a.Has(key, at(n)) {
			t.Fatalf("%s was forgotten", key)
		}
	}
	if a.Has("new", at(3*maxAnnounced)) || a.Has("other", time.Time{}) {
		t.Error("what is new is known")
	}
}
