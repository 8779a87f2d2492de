# Each target only calls start.py, which runs alone where there is no make.
.PHONY: demo test test-all

demo test test-all:
	@python3 demo_project/start.py $@
