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

	"ukdump/internal/secret"
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

// A text in quotes, of JSON, of a program, or both.
const quoted = `(\\"(?:[^"\\]|\\[^"])*\\"|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')`

// The name of a parameter, variable or key, and the quote in front of it.
var (
	beforeValue = regexp.MustCompile(`(\\"|["'])?([A-Za-z0-9_.-]+)=`)
	beforeText  = regexp.MustCompile(`(\\"|")([A-Za-z0-9_.-]+)(?:\\"|")\s*:\s*`)
	atValue     = regexp.MustCompile(`^` + value)
	atText      = regexp.MustCompile(`^` + quoted)
	// The rest of a parameter that is in quotes as a whole: "password=two words".
	toQuote = map[string]*regexp.Regexp{
		`\"`: regexp.MustCompile(`^((?:[^"\\]|\\[^"])+)\\"`), `"`: regexp.MustCompile(`^((?:[^"\\\n]|\\.)+)"`), `'`: regexp.MustCompile(`^([^'\n]+)'`),
	}
)

// ours matches a placeholder.
var ours = regexp.MustCompile(`^<[a-z]+-[0-9]+>$`)

// rules are applied in this order: a value of a parameter before addresses in it.
var rules = []rule{
	{kind: "secret", re: regexp.MustCompile(`(?i)("?\b[A-Za-z0-9_.-]*(?:passwd|password|passphrase|secret|token)\b"?\s*:\s*)` + value), ok: isScalar},
	{kind: "secret", re: regexp.MustCompile(`(?i)(\b(?:passwd|password|passphrase|passcode|secret|token) (?:is|was):?\s+)` + value), ok: isSecretWord},
	{kind: "secret", re: regexp.MustCompile(`(?i)(\bbearer\s+)([A-Za-z0-9._~+/=-]+)`)},
	{kind: "secret", re: regexp.MustCompile(`(\b[A-Za-z][A-Za-z0-9+.-]*://)([^\s/"]+)@`)},
	{kind: "host", re: regexp.MustCompile(`(?i)(\b[a-z][a-z0-9+.-]*://(?:<secret-[0-9]+>@)?)([a-z0-9][a-z0-9._-]*)`), ok: isPrivateHost},
	{kind: "ssid", re: regexp.MustCompile(`(?i)(\bssid\s*[=:]\s*)` + value)},
	{kind: "ssid", re: regexp.MustCompile(`(?i)(\bssid['"]?(?:\s+value)?:?\s+)` + quoted)},
	{kind: "ssid", re: regexp.MustCompile(`(?i)(\b(?:access point|wireless network)\s+)` + quoted)}, // NetworkManager
	{kind: "net", re: regexp.MustCompile(`((?:^|[\s"])(?:ip|ifname|bond|vlan|team|bridge|rd\.route|nameserver|rd\.peerdns|netroot|nfsroot|nfsaddrs|BOOTIF|ip6?|proxy|domain)=)` + value)},
	{kind: "host", re: regexp.MustCompile(`(?i)((?:\b|_)(?:host_?name|nodename|systemd\.hostname)=)` + value), ok: isHostName},
	{kind: "host", re: regexp.MustCompile(`("(?:host|nodename|hostname)"\s*:\s*")([^"\n]+)`)},
	// The servers of mounts, SERVER:/PATH of NFS and //SERVER/PATH of CIFS.
	{kind: "host", re: regexp.MustCompile(`(^|[\s"])([A-Za-z0-9][A-Za-z0-9.-]*):/(?:[^/]|$)`)},
	{kind: "host", re: regexp.MustCompile(`((?:^|[\s"])//)([A-Za-z0-9][A-Za-z0-9.-]*)/`)},
	{kind: "host", re: regexp.MustCompile(`(systemd\[1\]: Hostname set to <)([^>\n]+)`)},
	{kind: "user", re: regexp.MustCompile(`(?i)(\b(?:acct|user(?:name)?|login|logname)=)` + value)},
	{kind: "user", re: regexp.MustCompile(`(?i)((?:\\"|")(?:user(?:_?name)?|login|account)(?:\\"|")\s*:\s*)` + quoted)},
	{kind: "user", re: regexp.MustCompile(`(/home/|/Users/|/var/spool/mail/)([^/\s:"'\\]+)`)},
	{kind: "user", re: regexp.MustCompile(`(?i)(\b(?:(?:opened|closed|failure) for user |password for (?:invalid )?(?:user )?|invalid user |accepted [a-z/-]+ for ))([A-Za-z0-9._-]+)`), ok: isUserWord},
	{kind: "serial", re: regexp.MustCompile(`(?i)(\b(?:serial(?:[ _-]?(?:number|no))"?\s*[:=#]|serial=|serial"\s*:)\s*"?)([A-Za-z0-9][A-Za-z0-9._-]*)`)},
	{kind: "serial", re: regexp.MustCompile(`(?i)(\bS/N:?\s*)([A-Za-z0-9][A-Za-z0-9._-]*)`)},
	// sd-journal and syslog: sudo[1]: bob : TTY=pts/0
	{kind: "user", re: regexp.MustCompile(`(\bsudo(?:\[[0-9]+\])?:\s+)([A-Za-z0-9._-]+) :`)},
	{kind: "serial", re: regexp.MustCompile(`(/dev/disk/by-(?:id|label|partlabel|path)/)([^\s"'\\,;)]+)`)},
	{kind: "serial", re: regexp.MustCompile(`(?i)(^|[^a-z0-9])(iqn\.[0-9]{4}-[0-9]{2}\.[^\s"'\\,;)]+)`)},
	{kind: "serial", re: regexp.MustCompile(`(?i)(^|[^a-z0-9])(nqn\.[0-9]{4}-[0-9]{2}\.[^\s"'\\,;)]+)`), ok: isPrivateNQN},
	{kind: "serial", re: regexp.MustCompile(`(?i)(\b(?:ww[pn]n|wwid|wwn|sas[ _-]addr(?:ess)?|port[ _]name|node[ _]name|logical id)(?:\\?")?\s*[=:( ]?\s*(?:\\?")?(?:naa\.|eui\.)?(?:0x)?)([0-9a-f]{16,32})`), open: numberGoesOn},
	// scsi_id(8): the identifier of a disk behind a digit for its type, NAA 5 or 6.
	{kind: "serial", re: regexp.MustCompile(`(?i)(^|[^0-9a-z])(3(?:5[0-9a-f]{15}|6[0-9a-f]{31}))`), open: numberGoesOn},
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

// isScalar reports whether a value of JSON is a text or a number.
func isScalar(fact string) bool {
	return !strings.HasPrefix(fact, "{") && !strings.HasPrefix(fact, "[")
}

// isSecretWord reports whether a word behind "password is" can be the password.
func isSecretWord(fact string) bool {
	common := []string{"a", "an", "the", "not", "no", "too", "required", "needed", "empty", "missing", "wrong", "incorrect", "correct", "invalid", "valid", "expired", "set", "unset", "being", "ok", "accepted", "rejected"}
	return !slices.Contains(common, strings.ToLower(strings.TrimRight(fact, ".,;:!)")))
}

// isHostName reports whether a value is not what a kernel without a name has.
func isHostName(fact string) bool { return fact != "(none)" && fact != "localhost" }

// isUserWord reports whether a word behind "password for" can be a user.
func isUserWord(fact string) bool { return fact != "user" && fact != "invalid" }

// publicHosts are the servers in messages of kernels and programs on every machine.
var publicHosts = []string{"kernel.org", "systemd.io", "freedesktop.org", "debian.org", "ubuntu.com", "redhat.com", "fedoraproject.org", "opensuse.org", "suse.com", "archlinux.org"}

// isPrivateHost reports whether the host of a URL names a place. An address is none: it has a
// rule of its own.
func isPrivateHost(fact string) bool {
	if _, err := netip.ParseAddr(fact); err == nil || strings.EqualFold(fact, "localhost") {
		return false
	}
	return !slices.ContainsFunc(publicHosts, func(p string) bool { return fact == p || strings.HasSuffix(fact, "."+p) })
}

// isPrivateNQN reports whether a name of NVMe is not that of every discovery service, see the
// NVM Express base specification, NVMe qualified names.
func isPrivateNQN(fact string) bool {
	return !strings.EqualFold(fact, "nqn.2014-08.org.nvmexpress.discovery")
}

// isAddress reports whether a fact is an address that not every machine has.
func isAddress(fact string) bool {
	a, err := netip.ParseAddr(fact)
	return err == nil && !a.IsLoopback() && !a.IsUnspecified() && fact != "255.255.255.255"
}

// Line returns a line without the facts.
func (s *Scrubber) Line(line string) string {
	line = s.named(line, beforeValue, secret.May, atValue)
	line = s.named(line, beforeText, secret.Is, atText)
	for i := range rules {
		line = s.apply(&rules[i], line)
	}
	for i := range s.words {
		line = s.apply(&s.words[i], line)
	}
	return line
}

// named replaces values behind names with secret values: passwords, keys and tokens of any
// program, and the parameters of dracut.cmdline(7) and kernel-command-line(7). before finds
// the names, at the value behind one.
func (s *Scrubber) named(line string, before *regexp.Regexp, isSecret func(name string) bool, at *regexp.Regexp) string {
	var b strings.Builder
	done := 0
	for _, m := range before.FindAllStringSubmatchIndex(line, -1) {
		if m[1] < done || !isSecret(line[m[4]:m[5]]) {
			continue
		}
		rest, v := line[m[1]:], []int(nil)
		// A text of JSON or the value of a variable that begins with a parameter may go
		// on with others.
		isText := m[2] >= 0 && (line[:m[2]] != "" && line[m[2]-1] == '=' || strings.HasSuffix(strings.TrimRight(line[:m[2]], " \t"), `":`))
		if m[2] >= 0 && before == beforeValue && !isText {
			v = toQuote[line[m[2]:m[3]]].FindStringSubmatchIndex(rest)
		}
		if v == nil {
			v = at.FindStringSubmatchIndex(rest)
		}
		if v == nil {
			continue
		}
		fact, quote := unquote(rest[v[2]:v[3]])
		if fact == "" || ours.MatchString(fact) {
			continue
		}
		b.WriteString(line[done:m[1]] + rest[:v[2]] + quote + s.placeholder("secret", fact) + quote)
		done = m[1] + v[3]
	}
	b.WriteString(line[done:])
	return b.String()
}

// unquote takes the quotes off a value.
func unquote(fact string) (bare, quote string) {
	for _, q := range []string{`\"`, `"`, `'`} {
		if len(fact) >= 2*len(q) && strings.HasPrefix(fact, q) && strings.HasSuffix(fact, q) {
			return fact[len(q) : len(fact)-len(q)], q
		}
	}
	return fact, ""
}

// apply replaces the facts of one rule.
func (s *Scrubber) apply(r *rule, line string) string {
	var b strings.Builder
	at := 0
	for _, m := range r.re.FindAllStringSubmatchIndex(line, -1) {
		fact, quote := unquote(line[m[4]:m[5]])
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
