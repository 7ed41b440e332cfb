package recordtest

import (
	"pgregory.net/rapid"

	"github.com/talos-sriov/talos-sriov/pkg/record"
)

var (
	addresses = rapid.SampledFrom([]string{"0000:21:00.0", "0000:41:00.0", "0001:01:00.1"})
	devices   = rapid.SampledFrom([]string{"8086:10c9", "15b3:1021"})
	macs      = rapid.SampledFrom([]string{"", "52:54:00:00:00:01", "52:54:00:00:00:02"})
	ids       = rapid.SampledFrom([]string{"numvfs=4", "mtu", "vf0/vf-mac", "vf0/vf-vlan", "vf3/vf-mac", "vf3/vdpa-add"})
	settings  = rapid.SampledFrom([]record.Setting{record.NumVFs, record.AutoProbe, record.MTU, record.EswitchMode})
	// Texts have what JSON and YAML escape.
	texts = rapid.OneOf(rapid.SampledFrom([]string{"", "0", "on", "<VF 3>", "a & b", "\u2028", "\"", "\\"}), rapid.String())
)

// Record draws a record.
func Record() *rapid.Generator[record.Record] {
	return rapid.Custom(func(t *rapid.T) record.Record {
		return record.Record{
			BootID: rapid.SampledFrom([]string{"", "b1", "b2"}).Draw(t, "boot"),
			PFs:    rapid.MapOfN(addresses, PF(), 0, 3).Draw(t, "pfs"),
			Lost:   rapid.Bool().Draw(t, "lost"),
			Spent:  rapid.SliceOfN(texts, 0, 3).Draw(t, "spent"),
		}
	})
}

// PF draws the record of a PF.
func PF() *rapid.Generator[record.PF] {
	return rapid.Custom(func(t *rapid.T) record.PF {
		f := record.PF{
			PermMAC: macs.Draw(t, "mac"), Device: devices.Draw(t, "device"), SafeSpec: texts.Draw(t, "safe"),
			Forced:  rapid.SliceOfN(texts, 0, 3).Draw(t, "forced"),
			Open:    rapid.SliceOfNDistinct(ids, 0, 3, rapid.ID).Draw(t, "open"),
			Refused: rapid.MapOfN(ids, refusal(), 0, 3).Draw(t, "refused"),
		}
		if rapid.Bool().Draw(t, "changed") {
			made := made().Draw(t, "made")
			f.Made = &made
		}
		return f
	})
}

func refusal() *rapid.Generator[record.Refusal] {
	return rapid.Custom(func(t *rapid.T) record.Refusal {
		return record.Refusal{
			Value: texts.Draw(t, "value"), Answer: texts.Draw(t, "answer"),
			Volatile: rapid.Bool().Draw(t, "volatile"), Carrier: rapid.Bool().Draw(t, "carrier"),
		}
	})
}

func made() *rapid.Generator[record.Made] {
	return rapid.Custom(func(t *rapid.T) record.Made {
		return record.Made{
			NumVFs: rapid.IntRange(0, 256).Draw(t, "numVFs"), AutoProbe: rapid.Bool().Draw(t, "autoProbe"),
			MTU: rapid.IntRange(0, 9216).Draw(t, "mtu"), EswitchMode: texts.Draw(t, "mode"),
			Wrote:     rapid.MapOfN(settings, rapid.SliceOfN(texts, 1, 2), 0, 4).Draw(t, "wrote"),
			Overrides: rapid.MapOfN(rapid.IntRange(0, 255), texts, 0, 3).Draw(t, "overrides"),
		}
	})
}

// Run draws a run.
func Run() *rapid.Generator[record.Run] {
	return rapid.Custom(func(t *rapid.T) record.Run {
		run := record.Run{
			Card:  record.Card{Address: addresses.Draw(t, "address"), Device: devices.Draw(t, "device"), PermMAC: macs.Draw(t, "mac")},
			Found: made().Draw(t, "found"), Reset: rapid.Bool().Draw(t, "reset"),
		}
		for _, id := range rapid.SliceOfNDistinct(ids, 0, 4, rapid.ID).Draw(t, "steps") {
			in := record.Intent{ID: id, Attribute: rapid.Bool().Draw(t, "attribute"), Value: texts.Draw(t, "value")}
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				in.Setting = settings.Draw(t, "setting")
			case 1:
				in.Overrides = rapid.SliceOfN(rapid.IntRange(0, 255), 1, 3).Draw(t, "vfs")
			}
			run.Intents = append(run.Intents, in)
		}
		return run
	})
}
