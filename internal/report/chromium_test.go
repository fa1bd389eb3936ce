package report

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// browser runs Chromium on a file, without a window. It returns the document and the messages.
type browser struct{ program, dir string }

func (b browser) run(t *testing.T, args ...string) (document, messages string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, b.program, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + filepath.Join(b.dir, "profile")}, args...)...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err = c.Run()
	return stdout.String(), stderr.String(), err
}

func (b browser) file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// newBrowser skips the test if no Chromium is installed, or if it does not start here.
func newBrowser(t *testing.T) browser {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		b := browser{program, t.TempDir()}
		if out, messages, err := b.run(t, "--dump-dom", b.file(t, "probe.html", "<p>works</p>")); err != nil || !strings.Contains(out, "works") {
			t.Skipf("%s does not start: %v\n%s", program, err, messages)
		}
		return b
	}
	t.Skip("no Chromium")
	return browser{}
}

// TestChromium shows pages in a browser: no errors, no script, and no page wider than the window.
func TestChromium(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	b := newBrowser(t)
	pages := map[string]string{
		"golden": html(t, fixture()), "empty": html(t, &Report{}), "large": html(t, large()),
		"hostile": html(t, hostile(`"><script>document.title='ran'</script><img src=x onerror=alert(1)>`+strings.Repeat("W", 400), 3)),
	}

	t.Run("console", func(t *testing.T) {
		for _, name := range []string{"golden", "hostile"} {
			out, messages, err := b.run(t, "--dump-dom", b.file(t, name+".html", pages[name]))
			if err != nil || !strings.Contains(out, "</footer>") || strings.Contains(out, "<title>ran</title>") {
				t.Errorf("%s: %v\n%s", name, err, messages)
			}
			if strings.Contains(messages, "CONSOLE") {
				t.Errorf("%s: %s", name, messages)
			}
		}
		// If a script came in all the same, the policy of the page would stop it.
		injected := strings.Replace(pages["golden"], "<header>", "<script>document.title='ran'</script><header>", 1)
		out, messages, err := b.run(t, "--dump-dom", b.file(t, "injected.html", injected))
		if err != nil || strings.Contains(out, "<title>ran</title>") || !strings.Contains(messages, "Content Security Policy") {
			t.Errorf("injected script: %v\n%s", err, messages)
		}
	})

	t.Run("width", func(t *testing.T) {
		names := []string{"golden", "empty", "large", "hostile", "wide"}
		pages["wide"] = `<!DOCTYPE html><p style="width:2000px">wide`
		for i, got := range measure(t, b, names, pages) {
			want := "360 360 1280 1280"
			if names[i] == "wide" {
				want = "2008 2008 2008 2008" // with the margin
			}
			if got != want {
				t.Errorf("%s: widths %q, want %q: folded and unfolded in windows of 360 and 1280", names[i], got, want)
			}
		}
	})

	t.Run("screenshot", func(t *testing.T) {
		for _, size := range [][2]int{{360, 800}, {1280, 1600}} {
			path := filepath.Join(b.dir, "page.png")
			_, messages, err := b.run(t, fmt.Sprintf("--window-size=%d,%d", size[0], size[1]), "--screenshot="+path, b.file(t, "golden.html", pages["golden"]))
			if err != nil {
				t.Fatalf("%v\n%s", err, messages)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			img, err := png.Decode(bytes.NewReader(data))
			if err != nil || img.Bounds().Dx() != size[0] || img.Bounds().Dy() != size[1] {
				t.Errorf("%v: %v, %v", size, img.Bounds(), err)
			}
		}
	})
}

// measured is the result of the script in measure.
var measured = regexp.MustCompile(`<output>([0-9 ,]*)</output>`)

// measure returns the widths of pages, as they are and with all parts unfolded, in frames of 360
// and 1280 pixels.
func measure(t *testing.T, b browser, names []string, pages map[string]string) []string {
	t.Helper()
	var doc strings.Builder
	for _, name := range names {
		for _, width := range []int{360, 1280} {
			fmt.Fprintf(&doc, `<iframe style="border:0;height:800px;width:%dpx" srcdoc="%s"></iframe>`, width, template.HTMLEscapeString(pages[name]))
		}
	}
	doc.WriteString(`<script>onload = () => {
	const widths = [];
	document.querySelectorAll("iframe").forEach((f, i) => {
		const d = f.contentDocument, folded = d.documentElement.scrollWidth;
		d.querySelectorAll("details").forEach(e => e.open = true);
		widths.push((i ? i % 2 ? " " : "," : "") + folded + " " + d.documentElement.scrollWidth);
		f.srcdoc = "";
	});
	document.querySelector("output").textContent = widths.join("");
}</script><output></output>`)
	out, messages, err := b.run(t, "--dump-dom", b.file(t, "measure.html", doc.String()))
	m := measured.FindStringSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%v\n%s", err, messages)
	}
	return strings.Split(m[1], ",")
}
