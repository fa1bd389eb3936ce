package secret

import "testing"

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"password": "is", "PGPASSWORD": "is", "rd.luks.key": "is", "wifi-psk": "is", "api-key": "is", "cifs.creds": "is",
		"x.pin": "is", "GITHUB_TOKEN": "is", `"password`: "is", "netroot": "is",
		"ssh_host_key_file": "may", "rd.luks.uuid": "may", "luks_name": "may", "authmode": "may", "rd.iscsi.initiator": "may", "cryptdevice": "may",
		"root": "", "vconsole.keymap": "", "intel_iommu.bypass": "", "vfio-pci.passthrough": "", "pinctrl.x": "", "authors": "", "": "",
	} {
		got := ""
		switch {
		case Is(name):
			got = "is"
		case May(name):
			got = "may"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
