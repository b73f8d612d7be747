package import Primitives

/// How the other node of two switches this one off, before it takes over what it ran: a fence agent, as Debian's package
/// fence-agents has them for sockets, switches and management boards.
package struct Fence: Equatable, Sendable {
    /// Who is switched off.
    package var node: NodeName
    /// `fence_…`, or the absolute path of a program that speaks as they do.
    package var agent: String
    /// Sorted by their names.
    package var parameters: [Service.Parameter] = []
    /// How long one try may take. Default 60 s.
    package var within = Duration.seconds(60)

    package init(node: NodeName, agent: String) {
        self.node = node
        self.agent = agent
    }

    package static func checkedAgent(_ text: String) throws(Refusal) -> String {
        if text.hasPrefix("/") {
            try PathRule.check(text, "the agent")
            return text
        }
        let isWord = text.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }
        guard text.hasPrefix("fence_"), isWord, text.utf8.count <= 64 else {
            throw Refusal(
                "“\(text)” is no fence agent",
                remedy: "name one of the package fence-agents, as in fence_apc_snmp, or the whole path of a program")
        }
        return text
    }

    /// Ours to set, and secrets: every node has the document, and whoever may log in reads it.
    package static func check(_ parameter: Service.Parameter) throws(Refusal) {
        if ["action", "option"].contains(parameter.name) {
            throw Refusal("\(parameter.name) is set by Bramble", remedy: "leave it out")
        }
        if parameter.value.contains("\n") {
            throw Refusal("the value of \(parameter.name) has more than one line", remedy: "write one line")
        }
        let isSecret = ["passwd", "password"].contains { parameter.name.hasSuffix($0) }
        if isSecret {
            throw Refusal(
                "\(parameter.name) would be in the document, which everybody who may log in reads",
                remedy: "write \(parameter.name)_script: /PATH of a script that prints it, on both nodes, mode 700")
        }
    }
}

extension DesiredState {
    package func fence(of node: NodeName) -> Fence? { fences.first { $0.node == node } }
}
