import Crypto
import Machine
import Primitives

/// What `bramble init` does: a new cluster's key, and the first password, in a data directory.
package enum NewCluster {
    package struct Made: Sendable {
        package let user: String
        /// Shown once; the directory has only its hash.
        package let password: String
        package let keyPath: String
    }

    package enum Failure: OperatorError, Equatable {
        case badName(String)
        package var problem: String {
            switch self {
            case .badName(let name): "“\(name)” is no cluster name"
            }
        }
        package var remedy: String { "use \(NodeName.rule)" }
    }

    /// Works beside a daemon that waits for a key there, and makes it a member. Never replaces a key.
    package static func make(named cluster: String, in directory: String) throws -> Made {
        guard let name = NodeName(cluster) else { throw Failure.badName(cluster) }
        let file = ClusterKeyFile(in: directory)
        if try file.read() != nil { throw DataDirectoryError.keyExists(file.path) }
        let password = Accounts.makePassword()
        // The key last: a daemon that sees it finds the password too.
        try Home.leaveFirstPassword(Accounts.hash(password), in: directory)
        try file.create(ClusterKey.generate(name: name).text)
        return Made(user: Accounts.firstUser, password: password, keyPath: file.path)
    }
}
