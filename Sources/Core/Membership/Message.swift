/// What nodes say to each other about being alive: docs/protocol/membership.md has the table.
package enum Message: Equatable, Sendable {
    case placeholder
}
