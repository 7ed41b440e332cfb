// Package machineconfig reads and merges Talos machine configs as YAML text.
//
// A machine config belongs to Talos and to its version: a node may have kinds of
// documents and keys that this program was built too early to know, and a program
// can link one version of Talos' types only. So a config is never decoded into
// them here. It is split into its documents ([Documents]); each is a YAML tree, and
// keeps its bytes.
//
// [Merge] merges a patch of one or more documents into a config:
//
//   - A document that the patch does not name, by apiVersion, kind and name, keeps
//     its bytes, comments and all.
//   - One that the config does not have is appended as it stands in the patch.
//   - One that both have is merged as a tree and written again, or, when all of the
//     result is in the patch, as it stands there. It keeps its bytes when the patch
//     changes nothing. Comments stay unless YAML would be misread with them.
//   - What is written is read again and compared before it is returned.
//   - Whether the result makes sense is for the node to judge, which has the types.
//
// Within a document the rules are those of Talos' strategic merge: mappings are
// merged key by key, lists are appended, single values are replaced, "$patch:
// delete" deletes, and [Kinds] has the exceptions. Of a kind that is not in that
// table the merge of lists is not known; such a patch is refused and not guessed.
// YAML anchors, aliases and merge keys are carried, but not merged.
//
// It differs from Talos in what its types make of a patch, or in what hinders
// applying a patch again:
//
//   - An entry of a list that is there already, equal in everything, is not
//     appended a second time.
//   - To delete what is not there is no error.
//   - A zero or empty single value in the patch counts; for Talos most are as if
//     they were not given. null is as if it were not given for both.
//   - A boolean that the patch does not have stays; Talos takes some for false.
//
// It imports the standard library and gopkg.in/yaml.v3, nothing else of this
// module and nothing of Talos, so that test/contracts can compare it with the
// machinery of any version.
package machineconfig
