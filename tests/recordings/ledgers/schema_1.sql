PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE ledger (
	name VARCHAR(32) NOT NULL, 
	value INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO ledger VALUES('schema',1);
CREATE TABLE runs (
	id VARCHAR(80) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	started_at VARCHAR(40) NOT NULL, 
	finished_at VARCHAR(40), 
	record TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO runs VALUES('old','completed','2026-01-02T12:00:00.000000+00:00','2026-01-02T12:00:00.000000+00:00','{"id":"old","profile":"p","plan":{"tasks":[{"id":"t1"},{"id":"t2"},{"id":"t3"}]},"devices":{"pi4":[0,1]},"seed":3,"status":"completed","started_at":"2026-01-02T12:00:00Z","finished_at":"2026-01-02T12:00:00Z"}');
CREATE TABLE measurements (
	run VARCHAR(80) NOT NULL, 
	task VARCHAR(80) NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	variant_id VARCHAR(80) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	record TEXT NOT NULL, 
	statistics INTEGER NOT NULL, 
	summary TEXT NOT NULL, 
	PRIMARY KEY (run, task), 
	FOREIGN KEY(run) REFERENCES runs (id) ON DELETE CASCADE
);
INSERT INTO measurements VALUES('old','t2','pi4','id-int8','failed','{"run":"old","task":"t2","device":"pi4","board":"Raspberry Pi 4 Model B","is_emulated":false,"model":"net","variant":"int8","variant_id":"id-int8","is_baseline":false,"model_sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","runtime":"onnxruntime","provider":"CPUExecutionProvider","precision":"fp32","threads":1,"batch":1,"sparsity":null,"sparsity_target":null,"params":2236682,"params_nonzero":2236682,"macs":6500000,"file_bytes":8900000,"accuracy_host":0.98,"accuracy_device":null,"agreement":null,"max_abs_diff":null,"load_ms":null,"first_inference_ms":null,"memory_mb":{"baseline":40.0,"loaded":60.0,"peak":80.5,"pss":null},"power":{"source":null,"idle_w":null,"load_w":null,"energy_mj":null,"energy_net_mj":null},"environment":{"before":{"governor":"performance"}},"flags":[],"status":"failed","error":{"kind":"memory","message":"killed"},"started_at":"2026-01-02T12:00:00Z"}',1,'{"n":64,"rounds":1,"min":4.885089,"mean":5.003548984375,"p50":5.003385,"p50_ci":null,"p90":5.068479099999999,"p95":null,"p99":null,"p999":null,"total_ms":320.227135,"outliers":0}');
INSERT INTO measurements VALUES('old','t1','pi4','id-dense','ok','{"run":"old","task":"t1","device":"pi4","board":"Raspberry Pi 4 Model B","is_emulated":false,"model":"net","variant":"dense","variant_id":"id-dense","is_baseline":true,"model_sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","runtime":"onnxruntime","provider":"CPUExecutionProvider","precision":"fp32","threads":1,"batch":1,"sparsity":null,"sparsity_target":null,"params":2236682,"params_nonzero":2236682,"macs":6500000,"file_bytes":8900000,"accuracy_host":0.98,"accuracy_device":0.98,"agreement":null,"max_abs_diff":null,"load_ms":null,"first_inference_ms":null,"memory_mb":{"baseline":40.0,"loaded":60.0,"peak":80.5,"pss":null},"power":{"source":null,"idle_w":null,"load_w":null,"energy_mj":null,"energy_net_mj":null},"environment":{"before":{"governor":"performance"}},"flags":[],"status":"ok","error":null,"started_at":"2026-01-02T12:00:00Z"}',1,'{"n":192,"rounds":3,"min":4.881515,"mean":5.000859864583333,"p50":5.0025275,"p50_ci":[4.990016934648335,5.015038065351665],"p90":5.0664293,"p95":5.07765395,"p99":null,"p999":null,"total_ms":960.165094,"outliers":0}');
CREATE TABLE samples (
	run VARCHAR(80) NOT NULL, 
	task VARCHAR(80) NOT NULL, 
	round INTEGER NOT NULL, 
	count BIGINT NOT NULL, 
	data BLOB NOT NULL, 
	PRIMARY KEY (run, task, round), 
	FOREIGN KEY(run, task) REFERENCES measurements (run, task) ON DELETE CASCADE
);
INSERT INTO samples VALUES('old','t2',0,64,X'789c2dd0a16b02611cc671cb86e5ac0b57c4365050d340fc03d439d043c5204e0e41b6a20cb52dac0826a74530882683d82c6238b6a293836dfe05ca09b2309888533088f77daf7c78dee7c7efbdbb6ff5d6727eca1e1c4f504be37a1932b5d4c9ad50d854bec0c01b7d2f86ab2f5414e633d5a069cd4e7e4cd26b63f42fb02ed17fb6f0f78afdd75ef23e417e9f327f59e3fce588ed143646f452136d1bbc2bd14b1572de417639d139c49b224ec4feff19f35bf17f0e06da0bbccf224eef2e92570a3e89b9fd335a6d283fd01b3a4607a887d1f5ca5cff9ebd9920d998a12fc279a34956db627e8e89acf8be0ff4ee50cee15f877bba3fe413480b545c');
INSERT INTO samples VALUES('old','t1',0,64,X'789c2dd0a16b02611cc671cb86e5ac0b57c4365050d340fc03d439d043c5204e0e41b6a20cb52dac0826a74530882683d82c6238b6a293836dfe05ca09b2309888533088f77daf7c78dee7c7efbdbb6ff5d6727eca1e1c4f504be37a1932b5d4c9ad50d854bec0c01b7d2f86ab2f5414e633d5a069cd4e7e4cd26b63f42fb02ed17fb6f0f78afdd75ef23e417e9f327f59e3fce588ed143646f452136d1bbc2bd14b1572de417639d139c49b224ec4feff19f35bf17f0e06da0bbccf224eef2e92570a3e89b9fd335a6d283fd01b3a4607a887d1f5ca5cff9ebd9920d998a12fc279a34956db627e8e89acf8be0ff4ee50cee15f877bba3fe413480b545c');
INSERT INTO samples VALUES('old','t1',1,64,X'789c9bd3edc30002172420f49f265f307dc30f42471c87884f5be805a6b342217cdb8b103a5800a2eec3256f309db009c2e7f186f02b4f41e83d4c10f1ab21107d9ed7207ce90208ffc77988baa58c10be773984ef150ca18f1c83888bef85d07b3d21fa737640e4bf4e87f08d8521f2fa8d10fef36f1079c53d105ab206227f401422bf330bc2b7bc0991e77687d0b9d6107aed5a887c332f44bd813684df5905916ffe06e11f0982faf700847e730422be760624dcee4c83f07f41ed999d00e157d840f5174168dfcb107ae376a8bf9320f64ebd09f5f707082d6100115fff14c23f0f15678d82d013cc20fa9f1840f81d5b21fc7073087dba16220e00e85f5636');
INSERT INTO samples VALUES('old','t1',2,64,X'789c6bbde3cd00026acd107a660384de5fef03a6f3264268277f5f30dde101e19f1187f0f9e321b4812e84dedce405a6b7da40f89b7a21ea8de641e8279321b4fa3408bda71342bbb342e8c8db10fd7f4d21fc67eb20ee89958798f75e08223e211a42b32c83c81f7b0ea1ff43dde7a10de10bb641f8dd66109a2315229e5d03b167fb7a88b8b92084667a0291d79385f0dd3642ec6d7784f0756320f4172d88ba95fd1079d7ff10f1033210fe8410085f1a2a7e0deaefa4c310ba471742d7e942ccb11185e8fb7605e2ae2219887c8432845e008d9738a87e2d15082df30d22ceb311c24f7907e1e7c540cc63990011bf0215d7bb0c31bfce17c20700d9744dc7');
CREATE INDEX ix_runs_started_at ON runs (started_at);
CREATE INDEX measurements_by_device ON measurements (device);
CREATE INDEX measurements_by_status ON measurements (status);
CREATE INDEX measurements_by_variant ON measurements (variant_id);
COMMIT;
