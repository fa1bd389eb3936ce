package builder

import "testing"

func TestDumpLevel(t *testing.T) {
	for _, tt := range []struct {
		running, version string
		level, want      int
	}{
		{"6.12.118+deb13-amd64", "1.7.2", 31, 31},
		{"7.0.9", "1.7.8", 31, 31},
		{"7.1.0-rc1", "1.7.8", 31, 23},
		{"7.2.13+deb14-amd64", "1.7.8", 31, 23},
		{"7.2.13+deb14-amd64", "1.7.8", 8, 0},
		{"7.2.13+deb14-amd64", "1.7.8", 17, 17},
		{"7.2.13+deb14-amd64", "1.7.8++", 31, 23},
		{"7.2.13+deb14-amd64", "1.7.9", 31, 31},
		{"7.2.13+deb14-amd64", "1.8.0", 31, 31},
		{"7.2.13+deb14-amd64", "1.6.10", 31, 23},
		{"7.2.13+deb14-amd64", "2.0", 31, 31},
		{"8.0.1", "1.7.6", 31, 23},
	} {
		b := &Build{host: hostOf(t, tt.running)}
		if got := b.dumpLevel(tt.level, tt.version); got != tt.want {
			t.Errorf("Linux %s, makedumpfile %s, -d %d: -d %d, want -d %d", tt.running, tt.version, tt.level, got, tt.want)
		} else if warned := len(b.Warnings) > 0; warned != (got != tt.level) {
			t.Errorf("Linux %s, makedumpfile %s: %q", tt.running, tt.version, b.Warnings)
		}
	}
}
