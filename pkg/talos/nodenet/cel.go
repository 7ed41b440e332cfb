package nodenet

import (
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/siderolabs/talos/pkg/machinery/api/resource/definitions/enums"
	"github.com/siderolabs/talos/pkg/machinery/api/resource/definitions/network"
	"github.com/siderolabs/talos/pkg/machinery/cel/celenv"
)

// Expression evaluates a CEL expression over `link`, as a LinkAliasConfig has it.
// Talos asks it of physical links only. An expression that this program's CEL
// environment does not know may match. Source: Talos,
// internal/app/machined/pkg/controllers/network/link_alias_config.go.
func Expression(text string, l *Link) Certainty {
	if !l.Physical() {
		return No
	}
	checked, issues := celenv.LinkLocator().Compile(text)
	if issues.Err() != nil {
		return Maybe
	}
	e := expression{link: l, info: checked.NativeRep().SourceInfo()}
	return e.eval(checked.NativeRep().Expr())
}

// expression evaluates in three values: its parts that depend on nothing unknown
// by CEL itself, comparisons of an unknown MAC address by what such an address
// can be.
type expression struct {
	link *Link
	info *ast.SourceInfo
}

func (e *expression) eval(x ast.Expr) Certainty {
	if x.Kind() == ast.CallKind {
		call := x.AsCall()
		args := call.Args()
		switch call.FunctionName() {
		case operators.LogicalAnd:
			return both(e.eval(args[0]), e.eval(args[1]))
		case operators.LogicalOr:
			return either(e.eval(args[0]), e.eval(args[1]))
		case operators.LogicalNot:
			return not(e.eval(args[0]))
		}
		if c, ok := e.address(call); ok {
			return c
		}
	}
	return e.leaf(x)
}

// address decides a comparison of one of the link's addresses with a text; false
// when the call is none.
func (e *expression) address(call ast.CallExpr) (Certainty, bool) {
	args := call.Args()
	if len(args) != 2 {
		return No, false
	}
	switch call.FunctionName() {
	case operators.Equals, operators.NotEquals:
		c, ok := e.equal(args[0], args[1])
		if !ok {
			c, ok = e.equal(args[1], args[0])
		}
		if call.FunctionName() == operators.NotEquals {
			c = not(c)
		}
		return c, ok
	case "glob":
		pattern, text := literal(args[0])
		mac, ok := e.mac(args[1])
		return e.link.matchesMAC(pattern, mac), ok && text
	case operators.In:
		if args[1].Kind() != ast.ListKind {
			return No, false
		}
		result := No
		for _, item := range args[1].AsList().Elements() {
			c, ok := e.equal(args[0], item)
			if !ok {
				return No, false
			}
			result = either(result, c)
		}
		return result, true
	}
	return No, false
}

// equal compares one of the link's addresses with a text; false when they are
// something else.
func (e *expression) equal(address, text ast.Expr) (Certainty, bool) {
	mac, isMAC := e.mac(address)
	want, isText := literal(text)
	if !isMAC || !isText || strings.Contains(want, "*") {
		return No, false
	}
	return e.link.matchesMAC(want, mac), true
}

// mac recognizes mac(link.hardware_addr) and mac(link.permanent_addr).
func (e *expression) mac(x ast.Expr) (string, bool) {
	if x.Kind() != ast.CallKind || x.AsCall().FunctionName() != "mac" || len(x.AsCall().Args()) != 1 {
		return "", false
	}
	arg := x.AsCall().Args()[0]
	if arg.Kind() != ast.SelectKind || arg.AsSelect().Operand().Kind() != ast.IdentKind || arg.AsSelect().Operand().AsIdent() != "link" {
		return "", false
	}
	switch arg.AsSelect().FieldName() {
	case "hardware_addr":
		return e.link.MAC, true
	case "permanent_addr":
		return e.link.PermMAC, true
	}
	return "", false
}

func literal(x ast.Expr) (string, bool) {
	if x.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := x.AsLiteral().(types.String)
	return string(s), ok
}

// leaf lets CEL evaluate a part, with the fields that are not known marked so.
func (e *expression) leaf(x ast.Expr) Certainty {
	text, err := cel.ExprToString(x, e.info)
	if err != nil {
		return Maybe
	}
	checked, issues := celenv.LinkLocator().Compile(text)
	if issues.Err() != nil {
		return Maybe
	}
	program, err := celenv.LinkLocator().Program(checked, cel.EvalOptions(cel.OptPartialEval))
	if err != nil {
		return Maybe
	}
	status, unseen := e.link.status()
	vars, err := cel.PartialVars(map[string]any{"link": status}, unseen...)
	if err != nil {
		return Maybe
	}
	out, _, err := program.Eval(vars)
	if err != nil {
		return Maybe
	}
	if b, ok := out.(types.Bool); ok {
		return known(bool(b))
	}
	return Maybe
}

// status is the link as the environment has it, with patterns for the fields
// whose value is not known.
func (l *Link) status() (*network.LinkStatusSpec, []*cel.AttributePatternType) {
	s := &network.LinkStatusSpec{Driver: l.Driver, Pciid: l.PCIID, BusPath: l.BusPath, Type: enums.NethelpersLinkType_LINK_ETHER}
	knownFields := map[string]bool{"type": true, "kind": true, "driver": l.Driver != "", "pciid": l.PCIID != "", "bus_path": l.BusPath != ""}
	if !l.ToBe {
		// What is there has more fields than are kept here; these are known, also
		// when they are empty.
		knownFields["driver"], knownFields["pciid"], knownFields["bus_path"] = true, true, true
	}
	var unseen []*cel.AttributePatternType
	fields := s.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := string(fields.Get(i).Name()); !knownFields[name] {
			unseen = append(unseen, cel.AttributePattern("link").QualString(name))
		}
	}
	return s, unseen
}
