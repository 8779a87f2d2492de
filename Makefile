# Each target only calls start.py, which runs alone where there is no make.
.PHONY: demo chaos test test-all

demo chaos test test-all:
	@python3 demo_project/start.py $@
