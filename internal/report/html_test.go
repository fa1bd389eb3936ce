package report

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestWriteHTML(t *testing.T) { golden(t, "report.html", html(t, fixture())) }

// Of an empty report nothing is claimed.
func TestWriteHTMLEmpty(t *testing.T) {
	_, body, _ := strings.Cut(html(t, &Report{}), "</style>")
	golden(t, "empty.html", body[strings.Index(body, "<body>"):])
}

func html(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The tags and attributes that a page has. A quotation mark in a value is escaped, so each
// attribute ends at the next one.
var (
	pageTag = regexp.MustCompile(`^<(/?)([a-z0-9]+)((?: [a-z0-9-]+(?:="[^"<>]*")?)*)/?>`)
	pageAt  = regexp.MustCompile(` ([a-z0-9-]+)(?:="([^"]*)")?`)
	tags    = strings.Fields(`html head meta title style body header footer main nav section p h1 h2 h3 b i a ul ol li dl dt dd
		span div code details summary table caption thead tbody tr th td svg rect line text`)
	plainAttributes = strings.Fields(`lang dir charset name content open class id scope title role aria-label aria-labelledby aria-hidden tabindex http-equiv href`)
	numeric         = strings.Fields(`x y x1 x2 y1 y2 width height`)
	numberValue     = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?%?$`)
	wordValue       = regexp.MustCompile(`^[a-z0-9 ]+$`)
)

// checkPage reports markup that is not ours.
func checkPage(page string) error {
	rest, ok := strings.CutPrefix(page, "<!DOCTYPE html>\n")
	if !ok {
		return fmt.Errorf("no document type")
	}
	var open []string
	for {
		at := strings.IndexByte(rest, '<')
		if at < 0 {
			break
		}
		rest = rest[at:]
		m := pageTag.FindStringSubmatch(rest)
		if m == nil {
			return fmt.Errorf("markup: %.80q", rest)
		}
		rest = rest[len(m[0]):]
		name := m[2]
		switch void := name == "meta" || strings.HasSuffix(m[0], "/>"); {
		case !slices.Contains(tags, name):
			return fmt.Errorf("tag %q", m[0])
		case m[1] == "/":
			if len(open) == 0 || open[len(open)-1] != name {
				return fmt.Errorf("%s closes %v", m[0], open)
			}
			open = open[:len(open)-1]
		case !void:
			open = append(open, name)
		}
		for _, a := range pageAt.FindAllStringSubmatch(m[3], -1) {
			switch key, value := a[1], a[2]; {
			case slices.Contains(numeric, key) && numberValue.MatchString(value):
			case !slices.Contains(plainAttributes, key):
				return fmt.Errorf("attribute %q of %q", key, m[0])
			case key == "href" && !strings.HasPrefix(value, "#"), (key == "class" || key == "id") && !wordValue.MatchString(value):
				return fmt.Errorf("value of %q", m[0])
			}
		}
		if name == "style" && m[1] == "" {
			end := strings.Index(rest, "</style>")
			if end < 0 || strings.ContainsAny(rest[:end], "<\\") || strings.Contains(rest[:end], "url") || strings.Contains(rest[:end], "@import") {
				return fmt.Errorf("style: %q", rest)
			}
			rest = rest[end:]
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("not closed: %v", open)
	}
	return nil
}

func hostile(s string, n uint64) *Report {
	r := new(Report)
	fill(reflect.ValueOf(r).Elem(), s, n)
	return r
}

// Whatever the texts of a dump are, they add no tag, attribute, line or hidden character.
func TestHTMLHostile(t *testing.T) {
	style := func(page string) string {
		_, page, _ = strings.Cut(page, "<style>")
		page, _, _ = strings.Cut(page, "</style>")
		return page
	}
	ours := style(html(t, &Report{}))
	for _, s := range []string{
		`"><script>alert(1)</script>`, `'onmouseover=alert(1) x='`, `" onmouseover="alert(1)`, `</style><b>`, `</title><b>`, `</svg><b>`, `<!--`, `]]>`,
		`javascript:alert(1)`, `red;background:url(//example.org/)`, `{{.}}`, `&lt;script&gt;`, "`${alert(1)}`",
		"\nFORGED", "\u202etxt.exe\u2066", "zero\u200bwidth\ufeff\u00ad\u2060", "\x00\x1b[2J\x7f\u0085", "\xff\xfe", "filler \u115f\u3164\u2800 \ufe0f\U000e0041", strings.Repeat("ک", 5000),
	} {
		for n := range uint64(3) {
			page := html(t, hostile(s, n))
			if err := checkPage(page); err != nil {
				t.Errorf("%.40q: %v", s, err)
			}
			if style(page) != ours {
				t.Errorf("%.40q: the style differs", s)
			}
			checkCharacters(t, page)
			if strings.Contains(page, "\nFORGED") || strings.Contains(page, "&lt;script&gt;alert") && s[0] == '&' {
				t.Errorf("%.40q: forged", s)
			}
		}
	}
}

func checkCharacters(t *testing.T, page string) {
	t.Helper()
	for _, c := range page {
		hidden := unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
		if c != '\n' && c != utf8.RuneError && (!unicode.IsPrint(c) || hidden) {
			t.Fatalf("character %U", c)
		}
	}
}

// FuzzHTML makes pages of reports with hostile texts and numbers.
func FuzzHTML(f *testing.F) {
	f.Add("\x1b[2J\r\n\u202eword<script>", uint64(1)<<63)
	f.Add(strings.Repeat("x", 300), uint64(3))
	f.Add("", uint64(0))
	f.Fuzz(func(t *testing.T, s string, n uint64) {
		page := html(t, hostile(s, n))
		if err := checkPage(page); err != nil {
			t.Fatal(err)
		}
		checkCharacters(t, page)
	})
}

// Numbers that JSON cannot have come from nowhere, but they must not break the page.
func TestHTMLNumbers(t *testing.T) {
	for _, n := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, math.MaxFloat64} {
		r := fixture()
		r.Log = []Line{{Seconds: n}, {Seconds: 1}, {Seconds: n, Level: math.MaxInt}}
		r.Crash.UptimeSeconds, r.Tasks.Blocked[0].BlockedSeconds, r.Disks[0].Requests[0].AgeSeconds = &n, &n, &n
		if err := checkPage(html(t, r)); err != nil {
			t.Errorf("%v: %v", n, err)
		}
	}
}

// large is a report of a machine with many CPUs and 2,000 tasks, all of them blocked.
func large() *Report {
	r := fixture()
	stack := func(seed int) *Stack {
		s := &Stack{Method: "ORC"}
		for i := range 14 {
			s.Frames = append(s.Frames, Frame{Function: fmt.Sprintf("some_function_of_a_kernel_%d", seed*31+i), Offset: 0x1a0, Size: 0x3c0, Module: "filesystem", Reliable: true})
		}
		return s
	}
	for i := range 256 {
		r.CPUs = append(r.CPUs, CPU{Number: i + 4, Task: &TaskID{PID: i + 1, Comm: "worker"}, Stack: stack(i)})
	}
	r.Tasks.Total = 2000
	for i := range 2000 {
		b := r.Tasks.Blocked[0]
		b.PID, b.TGID, b.Stack = 1000+i, 1000+i, stack(i)
		r.Tasks.Blocked = append(r.Tasks.Blocked, b)
	}
	for i := range 300 {
		r.Mounts = append(r.Mounts, Mount{Source: "/dev/mapper/vg0-volume", Dir: fmt.Sprintf("/var/lib/containers/storage/overlay/%d/merged", i), Type: "overlay"})
		r.Kernel.Modules = append(r.Kernel.Modules, Module{Name: fmt.Sprintf("module_%d", i), SrcVersion: "0123456789ABCDEF0123456", Bytes: 65536})
		r.Disks = append(r.Disks, Disk{Name: fmt.Sprintf("sd%d", i), Bytes: 1 << 40, Requests: slices.Repeat(r.Disks[0].Requests[:1], i%4)})
		r.Log = append(r.Log, Line{float64(93785 + i), i % 8, strings.Repeat("word ", 20)})
		r.Memory.Slabs = append(r.Memory.Slabs, r.Memory.Slabs[0])
		r.Memory.Processes = append(r.Memory.Processes, r.Memory.Processes[0])
	}
	return r
}

func TestHTMLSize(t *testing.T) {
	page := html(t, large())
	if len(page) > 300_000 {
		t.Errorf("%d bytes", len(page))
	}
	for _, s := range []string{"and 1903 tasks more", "left out, since the page would be too large"} {
		if !strings.Contains(page, s) {
			t.Errorf("no %q", s)
		}
	}
	if err := checkPage(page); err != nil {
		t.Error(err)
	}
	if page != html(t, large()) {
		t.Error("the same report gives another page")
	}
}

// Equal stacks are shown once, and the others lead to that.
func TestHTMLSameStack(t *testing.T) {
	r := large()
	r.Tasks.Blocked = r.Tasks.Blocked[2:5]
	r.Tasks.Blocked[1].Stack = r.Tasks.Blocked[0].Stack
	page := html(t, r)
	if n := strings.Count(page, `the same stack as that of <a href="#t1">dd (PID 1000)</a>`); n != 1 {
		t.Errorf("%d references", n)
	}
}

func TestRanges(t *testing.T) {
	if got := ranges([]int{0, 2, 3, 5, 6, 7, 9}); got != "0, 2, 3, 5-7, 9" {
		t.Error(got)
	}
}

// Texts have a contrast of 4.5 to their grounds at least, in both schemes: WCAG 2.2, 1.4.3.
func TestHTMLContrast(t *testing.T) {
	css, err := os.ReadFile(filepath.Join("page", "page.css"))
	if err != nil {
		t.Fatal(err)
	}
	colours := map[string]string{}
	scheme := func(part string) {
		for _, m := range regexp.MustCompile(`--([a-z]+): #([0-9a-f]{6});`).FindAllStringSubmatch(part, -1) {
			colours[m[1]] = m[2]
		}
		for _, pair := range []string{"text ground", "text panel", "muted ground", "muted panel", "link ground", "link panel", "bad ground", "bad panel", "bad badpanel", "warn panel", "warn warnpanel", "text warnpanel", "text badpanel"} {
			fore, back, _ := strings.Cut(pair, " ")
			if c := contrast(t, colours[fore], colours[back]); c < 4.5 {
				t.Errorf("%s: %.1f", pair, c)
			}
		}
	}
	light, dark, _ := strings.Cut(string(css), "@media screen and (prefers-color-scheme: dark)")
	scheme(light)
	scheme(dark)
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	luminance := func(colour string) (l float64) {
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			n, err := strconv.ParseUint(colour[2*i:2*i+2], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			c := float64(n) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			l += weight * c
		}
		return l
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}
