package store

import (
	"fmt"
	"strings"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/reflect/protoreflect"

	"kubridge.io/examples/library/libraryv1"
)

// Condition is what a filter (AIP-160) says, in SQL. The zero value holds for everything.
type Condition struct {
	// Appends its arguments to those of the statement.
	sql func(arguments []any) (string, []any)
}

// Fields are what the filters of a resource may name.
type Fields struct {
	declarations *filtering.Declarations
	columns      map[string]column
}

type column struct {
	sql  string
	kind *expr.Type
	// Of an enum.
	values protoreflect.EnumDescriptor
}

// What may be filtered by.
var (
	PublisherFields = fields(map[string]column{
		"display_name": {sql: "display_name", kind: filtering.TypeString},
		"region_code":  {sql: "region_code", kind: filtering.TypeString},
		"labels":       {sql: "labels", kind: filtering.TypeMap(filtering.TypeString, filtering.TypeString)},
	})
	BookFields = fields(map[string]column{
		"title":      {sql: "title", kind: filtering.TypeString},
		"authors":    {sql: "authors", kind: filtering.TypeList(filtering.TypeString)},
		"isbn":       {sql: "isbn", kind: filtering.TypeString},
		"format":     {sql: "format", values: libraryv1.Book_FORMAT_UNSPECIFIED.Descriptor()},
		"state":      {sql: "CASE WHEN reader = '' THEN 1 ELSE 2 END", values: libraryv1.Book_STATE_UNSPECIFIED.Descriptor()},
		"page_count": {sql: "page_count", kind: filtering.TypeInt},
		"copy_count": {sql: "copy_count", kind: filtering.TypeInt},
		"labels":     {sql: "labels", kind: filtering.TypeMap(filtering.TypeString, filtering.TypeString)},
	})
	OperationFields = fields(map[string]column{
		"done":          {sql: "done", kind: filtering.TypeBool},
		"metadata.book": {sql: "book", kind: filtering.TypeString},
	})
)

func fields(columns map[string]column) *Fields {
	options := []filtering.DeclarationOption{
		filtering.DeclareStandardFunctions(),
		// `a = 1 b = 2`: the standard functions leave it out.
		filtering.DeclareFunction(filtering.FunctionFuzzyAnd, filtering.NewFunctionOverload(
			filtering.FunctionFuzzyAnd+"_bool", filtering.TypeBool, filtering.TypeBool, filtering.TypeBool)),
		filtering.DeclareIdent("true", filtering.TypeBool),
		filtering.DeclareIdent("false", filtering.TypeBool),
	}
	for name, column := range columns {
		if column.values == nil {
			options = append(options, filtering.DeclareIdent(name, column.kind))
			continue
		}
		// The values of two enums may have one name: they are compared as texts here, and read below.
		options = append(options, filtering.DeclareIdent(name, filtering.TypeString))
		for i := range column.values.Values().Len() {
			value := string(column.values.Values().Get(i).Name())
			options = append(options, filtering.DeclareIdent(value, filtering.TypeString))
		}
	}
	declarations, err := filtering.NewDeclarations(options...)
	if err != nil {
		panic(err) // Two fields of one name: a fault of this file.
	}
	return &Fields{declarations, columns}
}

// Parse reads a filter; an error: it is none, and why.
func (f *Fields) Parse(text string) (Condition, error) {
	parsed, err := filtering.ParseFilterString(text, f.declarations)
	if err != nil || parsed.CheckedExpr == nil {
		return Condition{}, err
	}
	// Once without a statement, so that faults are found now.
	probe := writer{fields: f}
	if _, err := probe.condition(parsed.CheckedExpr.GetExpr()); err != nil {
		return Condition{}, err
	}
	return Condition{func(arguments []any) (string, []any) {
		w := writer{f, arguments}
		condition, _ := w.condition(parsed.CheckedExpr.GetExpr())
		return condition, w.arguments
	}}, nil
}

type writer struct {
	fields    *Fields
	arguments []any
}

func (w *writer) argument(value any) string {
	w.arguments = append(w.arguments, value)
	return fmt.Sprintf("$%d", len(w.arguments))
}

var comparisons = map[string]string{
	filtering.FunctionEquals: "=", filtering.FunctionNotEquals: "<>",
	filtering.FunctionLessThan: "<", filtering.FunctionLessEquals: "<=",
	filtering.FunctionGreaterThan: ">", filtering.FunctionGreaterEquals: ">=",
}

func (w *writer) condition(e *expr.Expr) (string, error) {
	call := e.GetCallExpr()
	if call == nil {
		return "", fmt.Errorf("a comparison is expected, such as title = \"Faust\"")
	}
	switch call.GetFunction() {
	case filtering.FunctionAnd, filtering.FunctionFuzzyAnd, filtering.FunctionOr:
		operator := " AND "
		if call.GetFunction() == filtering.FunctionOr {
			operator = " OR "
		}
		parts := make([]string, len(call.GetArgs()))
		for i, argument := range call.GetArgs() {
			part, err := w.condition(argument)
			if err != nil {
				return "", err
			}
			parts[i] = part
		}
		return "(" + strings.Join(parts, operator) + ")", nil
	case filtering.FunctionNot:
		part, err := w.condition(call.GetArgs()[0])
		return "NOT " + part, err
	}
	left, right := call.GetArgs()[0], call.GetArgs()[1]
	if call.GetFunction() == filtering.FunctionHas {
		return w.has(left, right)
	}
	operator, ok := comparisons[call.GetFunction()]
	if !ok {
		return "", fmt.Errorf("%s is not supported", call.GetFunction())
	}
	column, sql, err := w.operand(left)
	if err != nil {
		return "", err
	}
	value, err := w.value(column, right)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("COALESCE(%s %s %s, false)", sql, operator, value), nil
}

// has is `field:value`: a part of a text, a member of a list, a key of a map.
func (w *writer) has(left, right *expr.Expr) (string, error) {
	column, sql, err := w.operand(left)
	if err != nil {
		return "", err
	}
	text, ok := right.GetConstExpr().GetConstantKind().(*expr.Constant_StringValue)
	if !ok {
		return "", fmt.Errorf("a text is expected behind the colon")
	}
	switch {
	case left.GetSelectExpr() != nil && column.kind.GetMapType() != nil && text.StringValue == "*":
		return sql + " IS NOT NULL", nil
	case column.kind.GetMapType() != nil && left.GetIdentExpr() != nil:
		return fmt.Sprintf("%s ? %s", sql, w.argument(text.StringValue)), nil
	case column.kind.GetListType() != nil:
		return fmt.Sprintf("%s = ANY(%s)", w.argument(text.StringValue), sql), nil
	case column.values == nil:
		return fmt.Sprintf("COALESCE(position(lower(%s::text) IN lower(%s)) > 0, false)", w.argument(text.StringValue), sql), nil
	}
	return "", fmt.Errorf("an enum is compared with =")
}

// operand is the left side: a field, or an entry of a map (`labels.tier`).
func (w *writer) operand(e *expr.Expr) (column, string, error) {
	if found, ok := w.fields.columns[path(e)]; ok {
		return found, found.sql, nil
	}
	if entry := e.GetSelectExpr(); entry != nil {
		if found, ok := w.fields.columns[path(entry.GetOperand())]; ok && found.kind.GetMapType() != nil {
			return found, fmt.Sprintf("%s ->> %s::text", found.sql, w.argument(entry.GetField())), nil
		}
	}
	return column{}, "", fmt.Errorf("a field is expected on the left")
}

// value is the right side.
func (w *writer) value(of column, e *expr.Expr) (string, error) {
	if of.values != nil {
		name := path(e)
		if text := e.GetConstExpr(); text != nil {
			name = text.GetStringValue()
		}
		value := of.values.Values().ByName(protoreflect.Name(name))
		if value == nil {
			return "", fmt.Errorf("%q is no value of %s", name, of.values.Name())
		}
		return w.argument(int32(value.Number())) + "::integer", nil
	}
	switch constant := e.GetConstExpr().GetConstantKind().(type) {
	case *expr.Constant_StringValue:
		return w.argument(constant.StringValue) + "::text", nil
	case *expr.Constant_Int64Value:
		return w.argument(constant.Int64Value) + "::bigint", nil
	case *expr.Constant_BoolValue:
		return w.argument(constant.BoolValue) + "::boolean", nil
	}
	switch path(e) {
	case "true", "false":
		return path(e), nil
	}
	return "", fmt.Errorf("a value is expected on the right")
}

// path is `a.b` of a chain of selections.
func path(e *expr.Expr) string {
	if selected := e.GetSelectExpr(); selected != nil {
		return path(selected.GetOperand()) + "." + selected.GetField()
	}
	return e.GetIdentExpr().GetName()
}
