// What people ask for: services, mirrors, volumes and balancers, as `bramble apply`, `export` and `plan` have them.

/// A document for `apply`.
public struct ApplyRequest: Codable, Equatable, Sendable {
    /// YAML, as `export` prints it.
    public var document: String
    /// What errors call it, usually the file's name.
    public var name: String?
    /// Remove what the document's parts do not name.
    public var prune: Bool?
    /// Single objects to remove, as `services/files` or `mirrors/samba`.
    public var remove: [String]?
    /// Change nothing; only say what would change.
    public var dryRun: Bool?

    public init(
        document: String, name: String? = nil, prune: Bool? = nil, remove: [String]? = nil, dryRun: Bool? = nil
    ) {
        self.document = document
        self.name = name
        self.prune = prune
        self.remove = remove
        self.dryRun = dryRun
    }
}

/// One object that differs.
public struct DesiredDifference: Codable, Equatable, Sendable {
    public enum Kind: String, Codable, CaseIterable, Sendable { case added, changed, removed }
    public var change: Kind
    /// `services`, `mirrors`, `volumes`, `balancers`, `fences`, `reach` or `schema`.
    public var part: String
    public var name: String
    /// A line for each value that differs.
    public var details: [String]

    public init(change: Kind, part: String, name: String, details: [String]) {
        self.change = change
        self.part = part
        self.name = name
        self.details = details
    }
}

public struct ApplyAnswer: Codable, Equatable, Sendable {
    /// Empty when everything is so already.
    public var changes: [DesiredDifference]
    /// False for a dry run.
    public var applied: Bool
    /// What is allowed but may not be meant, such as a preferred node that nobody knows; a sentence each.
    public var notes: [String]

    public init(changes: [DesiredDifference], applied: Bool, notes: [String]) {
        self.changes = changes
        self.applied = applied
        self.notes = notes
    }
}

/// The whole desired state.
public struct DesiredDocument: Codable, Equatable, Sendable {
    /// YAML that `apply` takes.
    public var document: String
    /// Objects that this version cannot read, a sentence each; they are not in the document.
    public var unreadable: [String]

    public init(document: String, unreadable: [String]) {
        self.document = document
        self.unreadable = unreadable
    }
}
