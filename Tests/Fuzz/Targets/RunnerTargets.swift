import Processes
import Runners
import XML

extension FuzzTarget {
    /// What a resource agent prints as its meta-data.
    static let agentMetadata = FuzzTarget("agentMetadata") {
        [
            """
            <?xml version="1.0"?><!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd"><!-- c --><resource-agent name="x" version="1">
            <shortdesc lang="en">a &lt;b&gt; &#x41;</shortdesc><longdesc><![CDATA[ <x> ]]></longdesc>
            <parameters><parameter name="p" required="1"><shortdesc>s</shortdesc><content type="string" default='d'/></parameter></parameters>
            <actions><action name="start" timeout="20s"/><action name="monitor" timeout="1min" interval="10" depth="0" /></actions>
            </resource-agent>
            """,
            "<resource-agent><a b=c d = 'e' f></a></resource-agent>",
        ].map { Array($0.utf8) }
    } check: { bytes in
        var xml = TolerantXML(bytes)
        var pieces = 0
        while xml.next() != nil {
            pieces += 1
            if pieces > bytes.count { return "more pieces than bytes" }
        }
        guard let told = AgentMetadata(bytes) else { return nil }
        if told.parameters.contains(where: { $0.name.isEmpty }) { return "a parameter without a name" }
        return told.parameters.count > 512 || told.actions.count > 512 ? "more than any agent has" : nil
    }

    /// What the service that is checked answers.
    static let httpAnswer = FuzzTarget("httpAnswer") {
        ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 503 Service Unavailable\r\n\r\n", "HTTP/1.1 404\n"].map { Array($0.utf8) }
    } check: { bytes in
        guard let cause = CheckProbe.verdict(onHead: bytes) else {
            return bytes.starts(with: Array("HTTP/1.".utf8)) ? nil : "something else than HTTP is taken for well"
        }
        return cause.utf8.count > 500 || cause.contains("\n") ? "a cause that is no short line" : nil
    }

    /// What any program prints.
    static let outputLines = FuzzTarget("outputLines") {
        ["one\ntwo\r\n\u{1B}[31mred\u{7}\n", "no end"].map { Array($0.utf8) }
    } check: { bytes in
        var lines = OutputLines()
        for line in lines.take(bytes) + [lines.finish()].compactMap({ $0 }) {
            if line.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) {
                return "a control character"
            }
            // Each broken byte becomes one character of three.
            if line.utf8.count > OutputLines.longest * 3 + 4 { return "a line that is too long" }
        }
        return nil
    }
}
