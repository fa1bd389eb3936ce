package report

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
)

// maxName bounds a name in the kernel, in bytes.
const maxName = 256

// system reads the facts about the kernel and the machine that need symbols.
func (m *maker) system() {
	k := &m.r.Kernel
	m.step("version", func() (err error) {
		k.Banner, err = m.text1("linux_banner", 1024)
		return err
	})
	m.step("taints", func() error {
		mask, err := m.number("tainted_mask", 8)
		if err == nil {
			k.Taints = taints(mask)
		}
		return err
	})
	m.step("command line", m.commandLine)
	m.step("hardware", func() (err error) {
		// lib/dump_stack.c: the "Hardware name" of call traces.
		hw, err := m.text1("dump_stack_arch_desc_str", 128)
		if hw = strings.TrimSpace(cmp.Or(hw, m.logged("] DMI: "))); hw != "" {
			m.r.Machine.Hardware, err = hw, nil
		}
		return err
	})
	if m.types != nil {
		m.step("host", func() error {
			at, err := m.k.Lookup("init_uts_ns")
			if err == nil {
				m.r.Machine.Host, err = m.k.TextField(at, "uts_namespace", "name.nodename")
			}
			if m.r.Machine.Host == "(none)" { // UTS_NODENAME, nobody has set one
				m.r.Machine.Host = ""
			}
			return err
		})
	}
	m.step("number of CPUs", func() error {
		list, err := m.present()
		if err == nil {
			n := len(list)
			m.r.Machine.CPUs = &n
		}
		return err
	})
	m.step("size of memory", func() error {
		n, err := m.number("_totalram_pages", 8)
		if err == nil {
			n = m.pages(n)
			m.r.Machine.MemoryBytes = &n
		}
		return err
	})
}

// systemByLog takes the facts about the kernel and the machine from the log.
func (m *maker) systemByLog() {
	k := &m.r.Kernel
	if version := m.logged("] Linux version "); version != "" {
		k.Banner = "Linux version " + version
		release, _, _ := strings.Cut(version, " ")
		k.Release = cmp.Or(k.Release, release)
	}
	k.CommandLine, k.Secrets = strikeOut(m.loggedCommandLine())
	m.r.Machine.Hardware = m.logged("] DMI: ")
}

// loggedCommandLine returns the command line in the log: init/main.c prints it with the first
// words, arch/x86/kernel/setup.c with the second ones.
func (m *maker) loggedCommandLine() string {
	return cmp.Or(m.logged("] Kernel command line: "), m.logged("] Command line: "))
}

// number returns the value of a variable of the kernel.
func (m *maker) number(symbol string, size int) (uint64, error) {
	at, err := m.k.Lookup(symbol)
	if err != nil {
		return 0, err
	}
	return m.k.Uint(at, size)
}

// text1 returns the string in an array of the kernel, without the newline at its end.
func (m *maker) text1(symbol string, size int) (string, error) {
	at, err := m.k.Lookup(symbol)
	if err != nil {
		return "", err
	}
	s, err := m.k.String(at, size)
	return strings.TrimSuffix(s, "\n"), err
}

// commandLine reads the command line and strikes out its secrets.
func (m *maker) commandLine() error {
	line, err := "", error(nil)
	at, err := m.number("saved_command_line", 8)
	if err == nil {
		line, err = m.k.String(at, 4096)
	}
	if err != nil {
		line = m.loggedCommandLine()
	}
	if line == "" && err != nil {
		return err
	}
	m.r.Kernel.CommandLine, m.r.Kernel.Secrets = strikeOut(strings.TrimSpace(line))
	return nil
}

// maxCPUs is the largest CONFIG_NR_CPUS of x86-64 and arm64.
const maxCPUs = 8192

// present returns the numbers of the CPUs that are plugged in: __cpu_present_mask of
// kernel/cpu.c. A crash takes CPUs off __cpu_online_mask.
func (m *maker) present() ([]int, error) {
	at, err := m.k.Lookup("__cpu_present_mask")
	if err != nil {
		return nil, err
	}
	n, err := m.k.CPUs()
	if err != nil {
		return nil, err
	}
	var list []int
	for base := 0; base < min(n, maxCPUs); base += 64 {
		word, err := m.k.U64(at + uint64(base/8))
		if err != nil {
			return list, err
		}
		for ; word != 0; word &= word - 1 {
			list = append(list, base+bits.TrailingZeros64(word))
		}
	}
	return list, nil
}

// modules lists the modules.
func (m *maker) modules() error {
	list, err := m.k.Modules()
	if err == nil || len(list) > 0 {
		m.r.Kernel.Modules = []Module{}
	}
	for _, mod := range list {
		state := mod.State
		if state == "live" {
			state = ""
		}
		m.r.Kernel.Modules = append(m.r.Kernel.Modules, Module{
			Name: mod.Name, Version: mod.Version, SrcVersion: mod.SrcVersion, State: state,
			Bytes: mod.Size, Taints: taintLetters(mod.Taints),
		})
		if mod.Err != nil {
			m.problem("module "+mod.Name, mod.Err)
		}
	}
	slices.SortFunc(m.r.Kernel.Modules, func(a, b Module) int { return strings.Compare(a.Name, b.Name) })
	return err
}
