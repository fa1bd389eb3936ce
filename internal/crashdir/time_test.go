package crashdir

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// Any time can be written to a report and to a name, and read again.
func TestClamp(t *testing.T) {
	for _, sec := range []int64{
		math.MinInt64, math.MinInt32, -1 << 40, -1, 0, 1, 1 << 31, 1 << 32, crash.Unix(),
		-62167219201, -62167219200, 253402300799, 253402300800, // the ends of the years 0 and 9999
		1 << 40, 1 << 50, 1 << 62, math.MaxInt64,
	} {
		at := Clamp(time.Unix(sec, 0))
		if y := at.UTC().Year(); y < 0 || y > 9999 {
			t.Errorf("%d s: year %d", sec, y)
		}
		inRange := sec >= -62167219200 && sec <= 253402300799
		if inRange != at.Equal(time.Unix(sec, 0)) {
			t.Errorf("%d s becomes %v", sec, at)
		}
		if got, _, ok := ParseName(Name(time.Unix(sec, 0))); !ok || !got.Equal(at) {
			t.Errorf("%d s: the name %s is of %v", sec, Name(time.Unix(sec, 0)), got)
		}
		r := &Report{Version: ReportVersion, Outcome: Failed, CrashTime: time.Unix(sec, 0), Started: time.Unix(sec, 0)}
		b, err := r.Encode()
		if err != nil {
			t.Fatalf("%d s: %v", sec, err)
		}
		got, err := ParseReport(b)
		if err != nil || !got.CrashTime.Equal(at) || !got.Started.Equal(at) {
			t.Errorf("%d s: %+v, %v", sec, got, err)
		}
		if _, err := json.Marshal(struct{ Report }{*r}); err != nil { // the state of PID 1
			t.Errorf("%d s: %v", sec, err)
		}
	}
	if !Clamp(time.Time{}).IsZero() {
		t.Error("a time that is not known becomes known")
	}
}

// The clock of the capture kernel can be wrong in every way. Dumps are in the order of
// their crashes.
func TestOrderOfCrashes(t *testing.T) {
	for name, clocks := range map[string][]string{
		"right":            {"2026-11-21T00-00-09Z", "2026-11-22T00-00-09Z", "2026-11-23T00-00-09Z"},
		"at its beginning": {"2026-11-21T00-00-09Z", "1970-01-01T00-00-09Z", "1970-01-01T00-00-08Z"},
		"behind":           {"2026-11-21T00-00-09Z", "2026-11-22T00-00-09Z", "2026-11-20T00-00-09Z"},
		"years behind":     {"2026-11-21T00-00-09Z", "2025-11-22T00-00-09Z", "2024-11-20T00-00-09Z"},
		"in the future":    {"2099-11-21T00-00-09Z", "2026-11-22T00-00-09Z", "2026-11-23T00-00-09Z"},
		"standing":         {"1970-01-01T00-00-09Z-3", "1970-01-01T00-00-09Z-2", "1970-01-01T00-00-09Z"},
		"at the ends":      {"9999-12-31T23-59-59Z", "0000-01-01T00-00-00Z", "9999-12-31T23-59-58Z"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			for i, clock := range clocks {
				r := &Report{Version: ReportVersion, Outcome: Complete, CrashTime: time.Date(2026, 11, 21+i, 0, 0, 0, 0, time.UTC)}
				b, err := r.Encode()
				if err != nil {
					t.Fatal(err)
				}
				put(t, parent, clock, map[string]string{Vmcore: "x", ReportFile: string(b)})
			}
			dumps, err := List(parent)
			if err != nil || len(dumps) != len(clocks) {
				t.Fatalf("%+v, %v", dumps, err)
			}
			for i, d := range dumps {
				if d.Name != clocks[i] {
					t.Errorf("place %d has %s, want %s", i, d.Name, clocks[i])
				}
			}
			for _, d := range Expendable(dumps) {
				if d.Name == clocks[2] {
					t.Error("the newest one is expendable")
				}
			}
		})
	}
}

// A time in the report that is plainly wrong does not count.
func TestTimeOfCrash(t *testing.T) {
	named := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for sec, want := range map[int64]time.Time{
		0: named, 1: named, -1: named, 1 << 20: named, clockWrong.Unix() - 1: named,
		clockWrong.Unix(): clockWrong, named.Unix() - 30: named.Add(-30 * time.Second), named.Unix() + 7200: named.Add(2 * time.Hour),
	} {
		parent := t.TempDir()
		b, err := (&Report{Version: ReportVersion, Outcome: Complete, CrashTime: time.Unix(sec, 0)}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		put(t, parent, Name(named), map[string]string{ReportFile: string(b)})
		d, err := Read(filepath.Join(parent, Name(named)))
		if err != nil || !d.Time.Equal(want) {
			t.Errorf("crash at %d s: %v, %v, want %v", sec, d.Time, err, want)
		}
	}
}

// Whatever the clocks say: a complete dump is left if there was one, and so is the last
// one, unless a clock is wrong by an amount that nobody can notice.
func TestExpendableClocks(t *testing.T) {
	defer func() { now = time.Now }()
	random := rand.New(rand.NewPCG(1, 2))
	clocks := []time.Time{
		{}, time.Unix(0, 0), crash.AddDate(-1, 0, 0), crash, crash.Add(time.Hour), crash.AddDate(73, 0, 0), Clamp(time.Unix(1<<50, 0)),
	}
	outcomes := []Outcome{Complete, Incomplete, DmesgOnly, Failed, Unknown}
	for range 5000 {
		now = func() time.Time { return clocks[random.IntN(len(clocks))] }
		var dumps []Dump
		complete := 0
		for i := range 1 + random.IntN(8) {
			d := Dump{Name: fmt.Sprint(i), Time: clocks[random.IntN(len(clocks))].Add(time.Duration(i) * time.Second), Outcome: outcomes[random.IntN(len(outcomes))]}
			if d.Outcome == Complete {
				complete++
			}
			dumps = append(dumps, d)
		}
		last := dumps[len(dumps)-1]
		known := !last.Time.Before(clockWrong) && last.Time.Before(crash.AddDate(1, 0, 0))
		for _, d := range dumps[:len(dumps)-1] {
			known = known && !d.Time.After(last.Time)
		}
		Sort(dumps)
		for _, d := range Expendable(dumps) {
			switch {
			case d.Outcome == Complete:
				complete--
				if complete == 0 {
					t.Fatalf("no complete dump is left of %+v", dumps)
				}
			case d.Outcome == Unknown:
				t.Fatalf("%s may be complete: %+v", d.Name, dumps)
			}
			if known && d.Name == last.Name {
				t.Fatalf("the last dump, %s, is expendable: %+v", d.Name, dumps)
			}
		}
	}
}
