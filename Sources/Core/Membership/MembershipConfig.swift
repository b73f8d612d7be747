/// Filled by the membership core.
package struct MembershipConfig: Equatable, Sendable {
    package init() {}
}
