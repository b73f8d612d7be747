import BrambleAPI
import Lab
import Testing

@Suite("the nodes, handed to Ansible", .serialized, .enabled(if: Lab.isAvailable, "no lab: \(Lab.obstacle ?? "")"))
@LabThread
struct AnsibleTests {
    @Test(
        "a labelled node gets its group's play, the real ansible-playbook changes it once, and its exit code is passed on"
    )
    func launch() throws {
        let cluster = try Cluster("n1", "n2")
        let label = try cluster["n2"].cli("node", "label", "n1", "role=web", "rack=a")
        #expect(label.succeeded, "\(label)")
        let labelled = eventually(within: .seconds(10)) {
            (try? cluster["n1"].nodes())?.first { $0.name == "n1" && $0.labels["role"] == "web" }
        }
        #expect(labelled?.labels["rack"] == "a")
        try cluster["n1"].host.write(
            """
            - hosts: web
              gather_facts: false
              tasks:
                - {name: mark, copy: {content: "made for {{ inventory_hostname }}", dest: /tmp/made}}
            - hosts: db
              gather_facts: false
              tasks:
                - {name: mark, copy: {content: "db", dest: /tmp/db}}
            """, to: "/tmp/site.yml")
        let hosts = try cluster["n1"].cli("inventory", "--for", "/tmp/site.yml")
        #expect(hosts.output.contains("[web]\nn1 ansible_host=") && hosts.output.contains("[db]\nn2 "), "\(hosts)")
        func run() throws -> CommandResult {
            try cluster["n1"].cli(
                [
                    "launch", "2", "/tmp/site.yml", "--", "-c", "local", "-e",
                    "ansible_python_interpreter=/usr/bin/python3",
                ],
                within: .seconds(90))
        }
        let first = try run()
        #expect(first.succeeded && first.output.contains("changed=1"), "\(first)")
        #expect(cluster["n1"].host.read("/tmp/made") == "made for n1")
        let second = try run()
        #expect(second.succeeded && !second.output.contains("changed=1"), "\(second)")
        try cluster["n1"].host.write("- hosts: web\n  tasks: [{name: no, fail: {msg: no}}]\n", to: "/tmp/bad.yml")
        let failed = try cluster["n1"].cli(
            ["launch", "1", "/tmp/bad.yml", "--", "-c", "local"], within: .seconds(60))
        #expect(failed.status == 2, "\(failed)")
        let none = try cluster["n1"].cli("launch", "9", "/tmp/site.yml")
        #expect(none.status == 1 && none.errors.contains("9 nodes are wanted"), "\(none)")
    }

    @Test("the playbooks that come with Bramble are sound", arguments: ["install", "web", "gluster", "access-point"])
    func playbooks(name: String) throws {
        let lab = try Lab(["n1"])
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let result = try lab.hosts[0].run(
            ["ansible-playbook", "--syntax-check", "-i", "localhost,", "/\(root)/deploy/ansible/\(name).yaml"],
            within: .seconds(60))
        #expect(result.succeeded, "\(result)")
        withExtendedLifetime(lab) {}
    }
}
