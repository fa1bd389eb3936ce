package kfeature

import "testing"

// config is a configuration with these options and no other.
type config map[string]string

func (c config) Known() bool { return c != nil }
func (c config) Get(name string) string {
	if c == nil {
		return ""
	}
	if v, ok := c[name]; ok {
		return v
	}
	return "n"
}

func TestIn(t *testing.T) {
	for _, tt := range []struct {
		name    string
		f       Feature
		release string
		conf    Config
		want    Answer
	}{
		{"older", Eventfs, "6.5.13-amd64", nil, No},
		{"first", Eventfs, "6.6", nil, Yes},
		{"younger by two digits", Eventfs, "6.10.1", nil, Yes},
		{"no release", Eventfs, "next", nil, Unknown},
		{"older, no configuration", CrashDMCrypt, "6.12.0", config(nil), No},
		{"younger, no configuration", CrashDMCrypt, "6.17.0", config(nil), Unknown},
		{"younger without it", CrashDMCrypt, "6.17.0", config{}, No},
		{"taken back", CrashDMCrypt, "5.14.0-700.el9", config{"CONFIG_CRASH_DM_CRYPT": "y"}, Yes},
		{"a module", Modules, "6.1", config{"CONFIG_MODULES": "m"}, Yes},
		{"only an option, no configuration", ProcVmcore, "6.1", nil, Unknown},
		{"only an option, not set", ProcVmcore, "6.1", config{}, No},
	} {
		if got := tt.f.In(tt.release, tt.conf); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestAfter(t *testing.T) {
	for release, want := range map[string]bool{
		"6.5.13-amd64": true, "5.10.0": true, "4.19": true, "6.1": true,
		"6.6.0": false, "6.12.1": false, "7.0.0-rc1": false, "10.0": false,
		"6.": false, "6": false, "": false, "next": false, "6.x": false, "99999999999999999999.1": false,
		"6.6-rc1": false, "6.5-rc7+": true,
	} {
		if got := (Version{6, 6}).After(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}
