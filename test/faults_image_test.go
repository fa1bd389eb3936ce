package test

import (
	"time"

	"ukdump/internal/crashdir"
)

// imageRefused is an image that kdumpctl must refuse; the previous one stays
// loaded and saves the dump.
func imageRefused(name string, ci bool, change string) fault {
	return fault{name: name, ci: ci,
		load: "kdumpctl load && faultlab edit $image $changed '" + change + "' && refused kdumpctl load --image $changed",
		want: want{outcomes: complete}}
}

// imageFaults are images that were changed after the build. In kernelOnly PID 1
// does not start: the machine can only come back.
var imageFaults = []fault{
	imageRefused("image-truncated-refused", true, "cut-packed=50%"),
	imageRefused("image-truncated-at-the-end-refused", false, "cut-packed=99%"),
	imageRefused("image-bit-flipped-refused", false, "flip-packed=40%"),
	imageRefused("image-garbage-refused", false, "junk-packed=2000000"),
	imageRefused("image-empty-refused", false, "cut-packed=0"),
	imageRefused("image-without-plan-refused", false, "rm=etc/ukdump/plan.json"),
	imageRefused("plan-truncated-refused", false, "truncate=etc/ukdump/plan.json=200"),
	imageRefused("plan-of-another-version-refused", false, "plan=version=99"),
	imageRefused("plan-of-another-kernel-refused", false, `plan=kernel.release="1.2.3"`),
	{name: "image-missing-refused", load: "kdumpctl load && refused kdumpctl load --image /nowhere", want: want{outcomes: complete}},
	{name: "image-directory-refused", load: "kdumpctl load && refused kdumpctl load --image /etc", want: want{outcomes: complete}},

	{name: "image-truncated", change: []string{"cut-packed=50%"}, want: want{outcomes: anything, panics: true}},
	{name: "image-bit-flipped", change: []string{"flip-packed=40%"}, want: want{outcomes: anything, panics: true}},
	{name: "image-garbage", change: []string{"junk-packed=2000000"}, want: want{outcomes: nothing, panics: true}},
	{name: "pid-1-truncated", change: []string{"truncate=init=100000"}, want: want{outcomes: nothing, panics: true}},
	{name: "pid-1-missing", change: []string{"rm=init"}, want: want{outcomes: nothing, panics: true}},
	{name: "plan-missing", ci: true, change: []string{"rm=etc/ukdump/plan.json"}, want: want{outcomes: nothing, says: "| "}},
	{name: "plan-truncated", change: []string{"truncate=etc/ukdump/plan.json=200"}, want: want{outcomes: nothing, says: "only the kernel log"}},
	{name: "plan-of-another-version", change: []string{"plan=version=99"}, want: want{outcomes: nothing, says: "format version 99"}},
	{name: "plan-of-another-kernel", change: []string{`plan=kernel.release="1.2.3"`}, want: want{outcomes: []crashdir.Outcome{crashdir.Complete}}},
	{name: "plan-with-unknown-field", change: []string{`plan=surprise=1`}, want: want{outcomes: nothing, says: "surprise"}},
	{name: "plan-without-end", change: []string{`plan=deadlines={"total":30,"module":600,"device":600,"mount":600,"stall":600,"finish":5}`, "collector=hang"},
		want: want{outcomes: dmesgOnly, within: 2 * time.Minute}},
	{name: "dev-null-missing-no-console", change: []string{"rm=dev/null"}, words: "console=null", want: want{outcomes: anything, panics: true}},
}
