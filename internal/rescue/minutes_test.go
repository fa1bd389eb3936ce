package rescue

import (
	"testing"
	"time"
)

func TestMinutes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Minute: "1 minute", 10 * time.Minute: "10 minutes", 90 * time.Second: "90 seconds", 2 * time.Hour: "120 minutes",
	} {
		if got := minutes(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}
