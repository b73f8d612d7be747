import Primitives

/// Addresses at which a node of our cluster may be, from discovery or the operator, and when each was last knocked on.
///
/// A sighting is a hint: it is knocked on at once, then at most every second, then ever slower while nobody answers.
struct Contacts: Sendable {
    private struct Contact {
        var knockedAt: Instant
        var unanswered: Int
    }
    private static let capacity = 256
    private static let quickest = Duration.seconds(1)
    private static let slowest = Duration.seconds(15)

    private var contacts: [Endpoint: Contact] = [:]

    /// True when it is time to knock there; the caller knocks.
    mutating func sighted(_ endpoint: Endpoint, now: Instant) -> Bool {
        guard var contact = contacts[endpoint] else {
            if contacts.count >= Self.capacity { forgetStalest() }
            contacts[endpoint] = Contact(knockedAt: now, unanswered: 1)
            return true
        }
        let wait = min(Self.quickest * (1 << min(contact.unanswered - 1, 4)), Self.slowest)
        guard now >= contact.knockedAt + wait else { return false }
        contact.knockedAt = now
        contact.unanswered += 1
        contacts[endpoint] = contact
        return true
    }

    /// Somebody answered there: the next sighting is knocked on at once again.
    mutating func answered(_ endpoint: Endpoint) { contacts[endpoint] = nil }

    private mutating func forgetStalest() {
        let stalest = contacts.min { ($0.value.knockedAt, $0.key) < ($1.value.knockedAt, $1.key) }
        if let stalest { contacts[stalest.key] = nil }
    }
}
