package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Scrubber replaces private facts in text. The same fact becomes the same placeholder in all
// texts of one Scrubber, so that a reader can still tell two hosts apart.
//
//	192.168.7.20 → <ip-1>   52:54:00:12:34:56 → <mac-1>   rd.luks.key=/k → rd.luks.key=<secret-1>
type Scrubber struct {
	seen   map[string]string // kind and fact to placeholder
	counts map[string]int
	words  []rule // for the known names of this machine and dump
}

// NewScrubber returns a Scrubber that also strikes out the given names of hosts and users,
// which no pattern could find. Names that every machine has are no secret.
func NewScrubber(hosts, users []string) *Scrubber {
	s := &Scrubber{seen: map[string]string{}, counts: map[string]int{}}
	public := []string{"", "(none)", "localhost", "localhost.localdomain", "root", "linux"}
	add := func(kind, name string) {
		if slices.Contains(public, strings.ToLower(name)) || len(name) > 255 {
			return
		}
		re, err := regexp.Compile(`(?i)(^|[^A-Za-z0-9_-])(` + regexp.QuoteMeta(name) + `)`)
		if err != nil {
			return // not UTF-8, so nothing would match
		}
		s.words = append(s.words, rule{kind: kind, re: re, open: wordGoesOn})
	}
	for _, h := range hosts {
		add("host", h)
		if short, _, ok := strings.Cut(h, "."); ok {
			add("host", short)
		}
	}
	for _, u := range users {
		add("user", u)
	}
	// A name may be the beginning of another: web7 of web7.example.org.
	slices.SortStableFunc(s.words, func(a, b rule) int { return len(b.re.String()) - len(a.re.String()) })
	return s
}

// A rule finds facts of one kind. Group 1 stays, group 2 is the fact.
type rule struct {
	kind string
	re   *regexp.Regexp
	ok   func(fact string) bool // nil for all
	open func(rest string) bool // reports whether the word goes on behind the fact; may be nil
}

// The end of a value: white space, and the quotes of JSON and of kernel parameters. In JSON
// those quotes are \", and \u0026 or \\ is a part of the value.
const value = `(\\"(?:[^"\\]|\\[^"])*\\"|"(?:[^"\\\n]|\\.)*"|"[^"\n]*"|'[^'\n]*'|(?:[^\s"\\,]|\\[^\s"])+)`

// ours matches a placeholder.
var ours = regexp.MustCompile(`^<[a-z]+-[0-9]+>$`)

// rules are applied in this order: a value of a parameter before addresses in it.
var rules = []rule{
	// Parameters whose value is a secret or names a person's place: passwords, keys and
	// tokens of any program, and dracut.cmdline(7), kernel-command-line(7),
	// Documentation/admin-guide/nfs/nfsroot.rst.
	{kind: "secret", re: regexp.MustCompile(`(?i)([A-Za-z0-9_.-]*(?:pass|passwd|password|passphrase|secret|token|credentials?|psk|apikey|api[_-]key|private|auth|key|keyfile)[A-Za-z0-9_.-]*=)` + value)},
	{kind: "secret", re: regexp.MustCompile(`(?i)("?\b[A-Za-z0-9_.-]*(?:passwd|password|passphrase|secret|token)\b"?\s*:\s*)` + value)},
	{kind: "secret", re: regexp.MustCompile(`(?i)(\bbearer\s+)([A-Za-z0-9._~+/=-]+)`)},
	{kind: "secret", re: regexp.MustCompile(`(\b[A-Za-z][A-Za-z0-9+.-]*://)([^\s/"]+)@`)},
	{kind: "secret", re: regexp.MustCompile(`((?:^|[\s"])(?:rd\.luks[A-Za-z0-9_.]*|luks[A-Za-z0-9_.]*|cryptdevice|cryptopts|rd\.iscsi[A-Za-z0-9_.]*|iscsi_[A-Za-z0-9_]*|rd\.znet|systemd\.set_credential(?:_binary)?)=)` + value)},
	{kind: "net", re: regexp.MustCompile(`((?:^|[\s"])(?:ip|ifname|bond|vlan|team|bridge|rd\.route|nameserver|rd\.peerdns|netroot|nfsroot|nfsaddrs|BOOTIF|ip6?|proxy|domain)=)` + value)},
	{kind: "host", re: regexp.MustCompile(`(?i)((?:\b|_)(?:host_?name|nodename|systemd\.hostname)=)` + value)},
	{kind: "host", re: regexp.MustCompile(`("(?:host|nodename|hostname)"\s*:\s*")([^"\n]+)`)},
	// The servers of mounts, SERVER:/PATH of NFS and //SERVER/PATH of CIFS.
	{kind: "host", re: regexp.MustCompile(`(^|[\s"])([A-Za-z0-9][A-Za-z0-9.-]*):/(?:[^/]|$)`)},
	{kind: "host", re: regexp.MustCompile(`((?:^|[\s"])//)([A-Za-z0-9][A-Za-z0-9.-]*)/`)},
	{kind: "host", re: regexp.MustCompile(`(systemd\[1\]: Hostname set to <)([^>\n]+)`)},
	{kind: "user", re: regexp.MustCompile(`(?i)(\b(?:acct|user(?:name)?|login|logname)=)` + value)},
	{kind: "user", re: regexp.MustCompile(`(/home/|/Users/|/var/spool/mail/)([^/\s:"'\\]+)`)},
	{kind: "user", re: regexp.MustCompile(`(?i)(\b(?:(?:opened|closed|failure) for user |password for (?:user )?))([A-Za-z0-9._-]+)`)},
	{kind: "serial", re: regexp.MustCompile(`(?i)(\b(?:serial(?:[ _-]?(?:number|no))"?\s*[:=#]|serial=|serial"\s*:)\s*"?)([A-Za-z0-9][A-Za-z0-9._-]*)`)},
	{kind: "serial", re: regexp.MustCompile(`(?i)(\bS/N:?\s*)([A-Za-z0-9][A-Za-z0-9._-]*)`)},
	{kind: "serial", re: regexp.MustCompile(`(?i)(\b(?:wwn-0x|wwid[ =]|naa\.|eui\.|nvme-eui\.))([0-9a-f]{8,})`)},
	{kind: "label", re: regexp.MustCompile(`(\b(?:PART)?LABEL=)` + value)},
	{kind: "id", re: regexp.MustCompile(`(PARTUUID=)([0-9A-Fa-f-]+)`)},
	{kind: "id", re: regexp.MustCompile(`(\bUUID=)([0-9A-Fa-f-]{4,})`)},
	{kind: "id", re: regexp.MustCompile(`("(?:uuid|partuuid)"\s*:\s*")([^"\n]+)`)},
	{kind: "id", re: regexp.MustCompile(`(machine[._-]id"?\s*[=:]\s*"?)([0-9A-Fa-f]{32})`)},
	{kind: "id", re: regexp.MustCompile(`([/\\])([0-9a-f]{32})[/\\]`)}, // a machine ID in the path of a kernel
	{kind: "id", re: regexp.MustCompile(`(^|[^0-9A-Fa-f-])([0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})`)},
	{kind: "mail", re: regexp.MustCompile(`(Linux version \S+ \()([^@\s()<>]+@[^\s()<>]+)`)}, // who built it, where
	{kind: "mail", re: regexp.MustCompile(`(^|[^A-Za-z0-9._%+-])([A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)`)},
	{kind: "mac", re: regexp.MustCompile(`(?i)(^|[^0-9a-f:])([0-9a-f]{2}(?::[0-9a-f]{2}){5,19})`)},
	{kind: "mac", re: regexp.MustCompile(`(?i)(^|[^0-9a-f-])([0-9a-f]{2}(?:-[0-9a-f]{2}){5,6})`)},
	{kind: "ip", re: regexp.MustCompile(`(^|[^0-9A-Za-z.])([0-9]{1,3}(?:\.[0-9]{1,3}){3})`), ok: isAddress, open: numberGoesOn},
	{kind: "ip", re: regexp.MustCompile(`(?i)(^|[^0-9A-Za-z:.])([0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})`), ok: isAddress, open: numberGoesOn},
}

// isAddress reports whether a fact is an address that not every machine has.
func isAddress(fact string) bool {
	a, err := netip.ParseAddr(fact)
	return err == nil && !a.IsLoopback() && !a.IsUnspecified() && fact != "255.255.255.255"
}

// Line returns a line without the facts.
func (s *Scrubber) Line(line string) string {
	for i := range rules {
		line = s.apply(&rules[i], line)
	}
	for i := range s.words {
		line = s.apply(&s.words[i], line)
	}
	return line
}

// apply replaces the facts of one rule.
func (s *Scrubber) apply(r *rule, line string) string {
	var b strings.Builder
	at := 0
	for _, m := range r.re.FindAllStringSubmatchIndex(line, -1) {
		fact := line[m[4]:m[5]]
		quote := ""
		for _, q := range []string{`\"`, `"`, `'`} {
			if len(fact) >= 2*len(q) && strings.HasPrefix(fact, q) && strings.HasSuffix(fact, q) {
				fact, quote = fact[len(q):len(fact)-len(q)], q
				break
			}
		}
		if fact == "" || ours.MatchString(fact) || r.ok != nil && !r.ok(fact) || r.open != nil && r.open(line[m[5]:]) {
			continue
		}
		b.WriteString(line[at:m[4]] + quote + s.placeholder(r.kind, fact) + quote)
		at = m[5]
	}
	b.WriteString(line[at:])
	return b.String()
}

// numberGoesOn reports whether rest continues a number, whose beginning is no address then.
func numberGoesOn(rest string) bool {
	rest = strings.TrimPrefix(rest, ".")
	return rest != "" && isWordByte(rest[0])
}

// wordGoesOn reports whether rest continues a word, whose beginning is no name then.
func wordGoesOn(rest string) bool {
	return rest != "" && (isWordByte(rest[0]) || rest[0] == '_' || rest[0] == '-')
}

func isWordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// placeholder returns the name that stands for a fact.
func (s *Scrubber) placeholder(kind, fact string) string {
	key := kind + " " + strings.ToLower(fact)
	if p, ok := s.seen[key]; ok {
		return p
	}
	s.counts[kind]++
	p := fmt.Sprintf("<%s-%d>", kind, s.counts[kind])
	s.seen[key] = p
	return p
}

// maxScrubLine bounds a line, which regular expressions see as a whole.
const maxScrubLine = 1 << 20

// Copy writes the lines of r to w without the facts.
func (s *Scrubber) Copy(w io.Writer, r io.Reader) error {
	in := bufio.NewReaderSize(r, maxScrubLine)
	out := bufio.NewWriter(w)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return errors.New("a line is too long to be scrubbed")
		}
		if err != nil && err != io.EOF {
			return err
		}
		body, newline := strings.CutSuffix(string(line), "\n")
		out.WriteString(s.Line(body))
		if newline {
			out.WriteByte('\n')
		}
		if err == io.EOF {
			return out.Flush()
		}
	}
}
