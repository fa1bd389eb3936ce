package main

import (
	"strings"
	"testing"
)

// frames returns a stack whose addresses begin at base, with guesses marked by "?".
func frames(base uint64, text string) []frame {
	var out []frame
	for i, name := range strings.Fields(text) {
		f := frame{pc: base + uint64(i)}
		f.name, f.guess = strings.CutPrefix(name, "?")
		out = append(out, f)
	}
	return out
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name, own, ref, other                              string
		both, equal, contradicts, confirmed, skipped, only int
	}{
		{name: "equal", own: "__schedule schedule.isra.0 kthread", ref: "__schedule schedule kthread", both: 3, equal: 3},
		{name: "their tail", own: "a b", ref: "nmi a b c", both: 2, equal: 2, only: 2},
		{name: "our tail", own: "a b c", ref: "a b", both: 2, equal: 2},
		{name: "they skip", own: "a panic b", ref: "a b", other: "x", both: 2, equal: 2, contradicts: 1},
		{name: "we skip", own: "a b", ref: "a panic b", both: 2, equal: 2, skipped: 1},
		{name: "another function", own: "a wrong b", ref: "a right b", both: 3, equal: 2, contradicts: 1},
		{name: "a marked one", own: "a ?wrong b", ref: "a right b", both: 3, equal: 2},
		{name: "only guesses", own: "a ?x ?y", ref: "a", both: 1, equal: 1},
	} {
		r := &result{name: "ref", labelNames: make(map[string]int)}
		r.compare(task{frames: frames(1000, c.own)}, task{frames: frames(2000, c.ref)}, task{frames: frames(3000, c.other)}, nil)
		got := []int{r.both, r.equal, r.contradicts, r.confirmed, r.skipped, r.onlyRef}
		for i, want := range []int{c.both, c.equal, c.contradicts, c.confirmed, c.skipped, c.only} {
			if got[i] != want {
				t.Errorf("%s: got %v, %d is not %d", c.name, got, i, want)
			}
		}
	}
}

func TestLabels(t *testing.T) {
	own := task{frames: []frame{{pc: 0x1010, name: "label", start: 0x1008}, {pc: 0x2010, name: "none", start: 0x2000}, {pc: 0x3000, name: "panic"}}}
	ref := task{frames: []frame{{pc: 0x1010, name: "function"}, {pc: 0x2010, name: "other"}}}
	other := task{frames: own.frames[1:2]}
	r := &result{labelNames: make(map[string]int)}
	r.compare(own, ref, other, elfSymbols{"label": {1, 0x1008}, "none": {0x1ff0}})
	if r.labels != 1 || r.contradicts != 1 || r.confirmed != 1 || r.place != 2 || r.onlyOwn != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestParse(t *testing.T) {
	list, err := parseCrash(`PID: 0        TASK: ffffffff90a1aa40  CPU: 0    COMMAND: "swapper/0"
 #0 [fffffe000000dea8] crash_nmi_callback at ffffffff8f06b39c
 #3 [fffffe000000def0] end_repeat_nmi at ffffffff8fc017c0
    [exception RIP: native_safe_halt+11]
    RIP: ffffffff8fa592eb  RSP: ffffffff90a03e98  RFLAGS: 00000246
--- <NMI exception stack> ---
 #4 [ffffffff90a03e98] native_safe_halt at ffffffff8fa592eb
#10 [ffffffff90a03f08] arch_call_rest_init at ffffffff91079e1e

PID: 120      TASK: ffff88f6420a8000  CPU: 1    COMMAND: "jbd2/vda1-8"
 #2 [ffffcb30c001bec0] kjournald2 at ffffffffc03ad205 [jbd2]
    RIP: 00007feb3dc19bd3  RSP: 00007ffebeef3fe8  RFLAGS: 00000202
`)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	var got []string
	for _, f := range list[0xffffffff90a1aa40].frames {
		got = append(got, f.name)
	}
	if text := strings.Join(got, " "); text != "crash_nmi_callback end_repeat_nmi native_safe_halt arch_call_rest_init" {
		t.Error(text)
	}
	if v := list[0xffff88f6420a8000]; len(v.frames) != 1 || v.frames[0].name != "kjournald2" || v.pid != 120 || v.comm != "jbd2/vda1-8" {
		t.Errorf("%+v", v)
	}

	list, err = parseDrgn([]byte(`{"task": 4096, "pid": 7, "comm": "sh", "listed": true, "error": "", "registers": false, "frames": [` +
		`{"pc": 18446744072016939296, "name": "crash_setup_regs", "inline": true}, {"pc": 18446744072016939296, "name": "__crash_kexec", "inline": false},` +
		`{"pc": 18446744072016939300, "name": "0xffffffff9b1cc924", "inline": false}, {"pc": 140440549499815, "name": "0x7fbadd10a3a7", "inline": false}]}` + "\n"))
	if v := list[4096]; err != nil || len(v.frames) != 2 || v.frames[0].name != "__crash_kexec" || v.frames[1].name != "" || v.broken || v.unlisted {
		t.Errorf("%+v, %v", v, err)
	}
}
