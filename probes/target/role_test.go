package target

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"
)

func TestParseTitle(t *testing.T) {
	for title, want := range map[string]string{
		"VLLM::EngineCore":                        "engine [] -1",
		"VLLM::EngineCore_DP3":                    "engine [DP3] -1",
		"my-llm::Worker":                          "worker [] -1",
		"VLLM::Worker_DP1_PP0_PCP2_TP3_DCP0_EP7":  "worker [DP1 PP0 PCP2 TP3 DCP0 EP7] -1",
		"VLLM::APIServer_2":                       "api_server [] 2",
		"VLLM::APIServer_DP1":                     "api_server [DP1] -1",
		"VLLM::DPCoordinator":                     "coordinator [] -1",
		"ray::EngineCoreActor.run":                "engine [] -1",
		"ray::RayWorkerWrapper.execute":           "",
		"std::Workers":                            "",
		"VLLM::EngineCore_":                       "",
		"VLLM::EngineCore_dp1":                    "",
		"VLLM::EngineCoreX":                       "",
		"::EngineCore":                            "",
		"a b::EngineCore":                         "",
		"./x::Worker":                             "",
		strings.Repeat("x", 300) + "::EngineCore": "",
		"VLLM::EngineCore_DP9999999999999999999":  "",
		"VLLM::Worker_TP1_":                       "",
		"VLLM::Worker__TP1":                       "",
	} {
		got := ""
		if p, ok := ParseTitle(title); ok {
			got = fmt.Sprintf("%s %v %d", p.Role, p.Ranks, p.N)
		}
		qt.Check(t, qt.Equals(got, want), qt.Commentf("%q", title))
	}
}

func TestTitleFromComm(t *testing.T) {
	for comm, want := range map[string]Role{
		"VLLM::EngineCor": RoleEngine, "VLLM::Worker_TP": RoleWorker,
		"VLLM::DPCoordin": RoleCoordinator, "VLLM::APIServer": RoleAPIServer,
		"python3": "", "std::x": "", "abcdefghijkl::E": "",
	} {
		got, _ := titleFromComm(comm)
		qt.Check(t, qt.Equals(got.Role, want), qt.Commentf("%q", comm))
	}
}

func TestServerArgs(t *testing.T) {
	for line, want := range map[string]string{
		"/v/bin/python /v/bin/vllm serve m --port 1":       "m --port 1",
		"/v/bin/python -u -X dev /v/bin/vllm serve m":      "m",
		"python3 -m vllm.entrypoints.openai.api_server -x": "-x",
		"python3 -m vllm.entrypoints.cli.main serve m":     "m",
		"/usr/bin/vllm-rs serve":                           "serve",
		"vllm serve m":                                     "m",
		"python3 -m vllm.entrypoints.cli.main bench":       "-",
		"python3 -m vllm.model_executor.models.registry":   "-",
		"/v/bin/python /v/bin/vllm bench":                  "-",
		"sh -c vllm":                                       "-",
		"python3 x.py serve":                               "-",
		"python3 -c vllm serve":                            "-",
	} {
		args, ok := serverArgs(strings.Fields(line))
		got := strings.Join(args, " ")
		if !ok {
			got = "-"
		}
		qt.Check(t, qt.Equals(got, want), qt.Commentf("%s", line))
	}
}

func TestModelAndPort(t *testing.T) {
	for line, want := range map[string]string{
		"m":                               "m 8000",
		"org/m --port 1":                  "org/m 1",
		"--port=1 --model m":              "m 1",
		"--port 1 m":                      "m 1",
		"--enforce-eager m --port 2":      "m 2",
		"--served_model_name x --model=y": "y 8000",
		"--no-enable-prefix-caching m":    "m 8000",
		"--port x":                        " 8000",
		"":                                " 8000",
	} {
		args := strings.Fields(line)
		qt.Check(t, qt.Equals(fmt.Sprint(modelOf(args), " ", portOf(args)), want), qt.Commentf("%s", line))
	}
}

func FuzzParseTitle(f *testing.F) {
	f.Add("VLLM::Worker_DP1_TP0")
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := ParseTitle(s); ok && p.Role == "" {
			t.Fatal(s)
		}
	})
}
