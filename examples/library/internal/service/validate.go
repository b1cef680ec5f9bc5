package service

import (
	"fmt"
	"regexp"
	"strings"

	"go.einride.tech/aip/fieldbehavior"
	"go.einride.tech/aip/fieldmask"
	"go.einride.tech/aip/resourcename"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"kubridge.io/examples/library/internal/store"
	"kubridge.io/examples/library/libraryv1"
)

const (
	publisherPattern = "publishers/{publisher}"
	bookPattern      = "publishers/{publisher}/books/{book}"
	// AIP-159: whatever publisher.
	wildcard = "-"
)

var (
	idSyntax     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	regionSyntax = regexp.MustCompile(`^[A-Z]{2}$`)
	isbnSyntax   = regexp.MustCompile(`^([0-9]{9}[0-9X]|[0-9]{13})$`)
)

// publisherID reads `publishers/P`.
func publisherID(field, name string) (string, error) {
	var id string
	if err := resourcename.Sscan(name, publisherPattern, &id); err != nil || !idSyntax.MatchString(id) {
		return "", invalid(badName(field, name, publisherPattern))
	}
	return id, nil
}

// bookKey reads `publishers/P/books/B`.
func bookKey(field, name string) (store.BookKey, error) {
	var key store.BookKey
	err := resourcename.Sscan(name, bookPattern, &key.Publisher, &key.Book)
	if err != nil || !idSyntax.MatchString(key.Publisher) || !idSyntax.MatchString(key.Book) {
		return key, invalid(badName(field, name, bookPattern))
	}
	return key, nil
}

func badName(field, name, pattern string) violation {
	if name == "" {
		return violation{field, "REQUIRED", "Required value: a name, " + pattern}
	}
	return violation{field, "INVALID_NAME", fmt.Sprintf("%q is no name: write %s", name, pattern)}
}

// checkID checks what a client wants a new resource to be called.
func checkID(field, id string) []violation {
	if idSyntax.MatchString(id) {
		return nil
	}
	return []violation{{field, "INVALID_ID",
		fmt.Sprintf("%q is no id: write letters, digits, `-`, `_` and `.`, at most 63, the first and the last a letter or a digit", id)}}
}

// missing are the required fields that are empty, below path.
func missing(message protoreflect.Message, path string) []violation {
	var found []violation
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		at := path + string(field.Name())
		if !message.Has(field) {
			if fieldbehavior.Has(field, annotations.FieldBehavior_REQUIRED) {
				found = append(found, violation{at, "REQUIRED", "Required value"})
			}
		} else if field.Message() != nil && !field.IsList() && !field.IsMap() {
			found = append(found, missing(message.Get(field).Message(), at+".")...)
		}
	}
	return found
}

// altered are the immutable fields that differ.
func altered(old, new protoreflect.Message, path string) []violation {
	var found []violation
	fields := old.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if fieldbehavior.Has(field, annotations.FieldBehavior_IMMUTABLE) && !old.Get(field).Equal(new.Get(field)) {
			found = append(found, violation{path + string(field.Name()), "IMMUTABLE", "it cannot be changed"})
		}
	}
	return found
}

// merged is old with what a client has sent, as its mask says (AIP-134).
func merged[M proto.Message](old, sent M, mask *fieldmaskpb.FieldMask, path string) (M, error) {
	var none M
	if err := fieldmask.Validate(mask, old); err != nil {
		return none, invalid(violation{"update_mask", "INVALID_MASK", err.Error()})
	}
	result := proto.Clone(old).(M)
	fieldmask.Update(mask, result, proto.Clone(sent))
	// What only the library says stays as it was, whatever was sent.
	fieldbehavior.CopyFields(result, old, annotations.FieldBehavior_OUTPUT_ONLY, annotations.FieldBehavior_IDENTIFIER)
	etag := old.ProtoReflect().Descriptor().Fields().ByName("etag")
	result.ProtoReflect().Set(etag, old.ProtoReflect().Get(etag))
	return result, invalid(altered(old.ProtoReflect(), result.ProtoReflect(), path)...)
}

func checkPublisher(publisher *libraryv1.Publisher) []violation {
	const path = "publisher."
	found := missing(publisher.ProtoReflect(), path)
	if region := publisher.GetRegionCode(); region != "" && !regionSyntax.MatchString(region) {
		found = append(found, violation{path + "region_code", "INVALID_REGION", "write two capital letters, such as DE"})
	}
	return append(found, checkTexts(path+"labels", publisher.GetLabels())...)
}

func checkBook(book *libraryv1.Book) []violation {
	const path = "book."
	found := missing(book.ProtoReflect(), path)
	if isbn := book.GetIsbn(); isbn != "" && !isbnSyntax.MatchString(isbn) {
		found = append(found, violation{path + "isbn", "INVALID_ISBN", "write ten or thirteen digits"})
	}
	if book.GetPageCount() < 0 {
		found = append(found, violation{path + "page_count", "OUT_OF_RANGE", "it cannot be negative"})
	}
	if _, known := libraryv1.Book_Format_name[int32(book.GetFormat())]; !known {
		found = append(found, violation{path + "format", "INVALID_FORMAT", "there is no such format"})
	}
	if loan := book.GetLoanPeriod(); loan != nil && (!loan.IsValid() || loan.AsDuration() <= 0) {
		found = append(found, violation{path + "loan_period", "OUT_OF_RANGE", "it must be positive"})
	}
	found = append(found, checkTexts(path+"labels", book.GetLabels())...)
	return append(found, checkTexts(path+"annotations", book.GetAnnotations())...)
}

// checkTexts: PostgreSQL has no place for NUL in a text.
func checkTexts(field string, texts map[string]string) []violation {
	for key, value := range texts {
		if strings.ContainsRune(key, 0) || strings.ContainsRune(value, 0) {
			return []violation{{field, "INVALID_TEXT", "it has a NUL"}}
		}
	}
	return nil
}
