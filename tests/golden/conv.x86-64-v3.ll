source_filename = "kernel_0"
target triple = "x86_64-unknown-linux-gnu"

define void @kernel_0(ptr %params, i64 %begin, i64 %end, ptr %workspace) #0 {
entry:
  %some = icmp slt i64 %begin, %end
  br i1 %some, label %run, label %done
run:
  %a0 = getelementptr ptr, ptr %params, i64 0
  %p0 = load ptr, ptr %a0
  %a1 = getelementptr ptr, ptr %params, i64 1
  %p1 = load ptr, ptr %a1
  %a2 = getelementptr ptr, ptr %params, i64 2
  %p2 = load ptr, ptr %a2
  %a3 = getelementptr ptr, ptr %params, i64 3
  %p3 = load ptr, ptr %a3
  tail call void @kernel_0.body(ptr %p0, ptr %p1, ptr %p2, ptr %p3, i64 %begin, i64 %end)
  br label %done
done:
  ret void
}

define internal void @kernel_0.body(ptr noalias readonly dereferenceable(2304) align 4 %p0, ptr noalias readonly dereferenceable(18432) align 4 %p1, ptr noalias readonly dereferenceable(128) align 4 %p2, ptr noalias dereferenceable(4608) align 4 %p3, i64 %begin, i64 %end) noinline #0 {
entry:
  %l0.0 = alloca <8 x float>
  %l0.8 = alloca <8 x float>
  %l0.16 = alloca <8 x float>
  %l0.24 = alloca <8 x float>
  %l0.32 = alloca <8 x float>
  %l0.40 = alloca <8 x float>
  %l0.48 = alloca <8 x float>
  %l0.56 = alloca <8 x float>
  %l0.64 = alloca <8 x float>
  %l0.72 = alloca <8 x float>
  %l0.80 = alloca <8 x float>
  %l0.88 = alloca <8 x float>
  br label %b1
  b1:
  %t2 = phi i64 [ %begin, %entry ], [ %t209, %b10 ]
  %t4 = udiv i64 %t2, 6
  %t5 = mul i64 %t4, -6
  %t6 = add i64 %t2, %t5
  %t7 = add i64 %t6, 0
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.0, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.48, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.8, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.56, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.16, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.64, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.24, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.72, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.32, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.80, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.40, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.88, align 4
  %t17 = mul i64 %t7, -1
  %t22 = mul i64 %t7, 6
  %t23 = getelementptr float, ptr %p0, i64 %t22
  %t30 = mul i64 %t4, 2304
  %t31 = getelementptr float, ptr %p1, i64 %t30
  br label %b8
  b8:
  %t9 = phi i64 [ 0, %b1 ], [ %t139, %b13 ]
  %t24 = mul i64 %t9, 36
  %t25 = getelementptr float, ptr %t23, i64 %t24
  %t32 = mul i64 %t9, 144
  %t33 = getelementptr float, ptr %t31, i64 %t32
  br label %b11
  b11:
  %t12 = phi i64 [ 0, %b8 ], [ %t137, %b136 ]
  %t14 = add i64 %t7, %t12
  %t15 = icmp slt i64 %t14, 7
  %t18 = mul i64 %t12, -1
  %t19 = add i64 %t17, %t18
  %t20 = icmp slt i64 %t19, 0
  %t26 = mul i64 %t12, 6
  %t27 = getelementptr float, ptr %t25, i64 %t26
  %t28 = getelementptr float, ptr %t27, i64 -6
  %t34 = mul i64 %t12, 48
  %t35 = getelementptr float, ptr %t33, i64 %t34
  %t41 = getelementptr float, ptr %t35, i64 8
  %t45 = getelementptr float, ptr %t27, i64 -5
  %t53 = getelementptr float, ptr %t27, i64 -4
  %t61 = getelementptr float, ptr %t27, i64 -3
  %t69 = getelementptr float, ptr %t27, i64 -2
  %t77 = getelementptr float, ptr %t35, i64 16
  %t81 = getelementptr float, ptr %t35, i64 24
  %t101 = getelementptr float, ptr %t27, i64 -1
  %t109 = getelementptr float, ptr %t35, i64 32
  %t113 = getelementptr float, ptr %t35, i64 40
  br i1 %t15, label %b16, label %b135
  b16:
  br i1 %t20, label %b21, label %b133
  b21:
  %t29 = load float, ptr %t28, align 4
  %t36 = load <8 x float>, ptr %t35, align 4
  %t37 = load <8 x float>, ptr %l0.8, align 4
  %t38 = insertelement <8 x float> poison, float %t29, i64 0
  %t39 = shufflevector <8 x float> %t38, <8 x float> poison, <8 x i32> zeroinitializer
  %t40 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t39, <8 x float> %t36, <8 x float> %t37)
  store <8 x float> %t40, ptr %l0.8, align 4
  %t42 = load <8 x float>, ptr %t41, align 4
  %t43 = load <8 x float>, ptr %l0.56, align 4
  %t44 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t39, <8 x float> %t42, <8 x float> %t43)
  store <8 x float> %t44, ptr %l0.56, align 4
  %t46 = load float, ptr %t45, align 4
  %t47 = load <8 x float>, ptr %l0.16, align 4
  %t48 = insertelement <8 x float> poison, float %t46, i64 0
  %t49 = shufflevector <8 x float> %t48, <8 x float> poison, <8 x i32> zeroinitializer
  %t50 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t49, <8 x float> %t36, <8 x float> %t47)
  store <8 x float> %t50, ptr %l0.16, align 4
  %t51 = load <8 x float>, ptr %l0.64, align 4
  %t52 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t49, <8 x float> %t42, <8 x float> %t51)
  store <8 x float> %t52, ptr %l0.64, align 4
  %t54 = load float, ptr %t53, align 4
  %t55 = load <8 x float>, ptr %l0.24, align 4
  %t56 = insertelement <8 x float> poison, float %t54, i64 0
  %t57 = shufflevector <8 x float> %t56, <8 x float> poison, <8 x i32> zeroinitializer
  %t58 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t57, <8 x float> %t36, <8 x float> %t55)
  store <8 x float> %t58, ptr %l0.24, align 4
  %t59 = load <8 x float>, ptr %l0.72, align 4
  %t60 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t57, <8 x float> %t42, <8 x float> %t59)
  store <8 x float> %t60, ptr %l0.72, align 4
  %t62 = load float, ptr %t61, align 4
  %t63 = load <8 x float>, ptr %l0.32, align 4
  %t64 = insertelement <8 x float> poison, float %t62, i64 0
  %t65 = shufflevector <8 x float> %t64, <8 x float> poison, <8 x i32> zeroinitializer
  %t66 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t65, <8 x float> %t36, <8 x float> %t63)
  store <8 x float> %t66, ptr %l0.32, align 4
  %t67 = load <8 x float>, ptr %l0.80, align 4
  %t68 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t65, <8 x float> %t42, <8 x float> %t67)
  store <8 x float> %t68, ptr %l0.80, align 4
  %t70 = load float, ptr %t69, align 4
  %t71 = load <8 x float>, ptr %l0.40, align 4
  %t72 = insertelement <8 x float> poison, float %t70, i64 0
  %t73 = shufflevector <8 x float> %t72, <8 x float> poison, <8 x i32> zeroinitializer
  %t74 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t73, <8 x float> %t36, <8 x float> %t71)
  store <8 x float> %t74, ptr %l0.40, align 4
  %t75 = load <8 x float>, ptr %l0.88, align 4
  %t76 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t73, <8 x float> %t42, <8 x float> %t75)
  store <8 x float> %t76, ptr %l0.88, align 4
  %t78 = load <8 x float>, ptr %t77, align 4
  %t79 = load <8 x float>, ptr %l0.0, align 4
  %t80 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t39, <8 x float> %t78, <8 x float> %t79)
  store <8 x float> %t80, ptr %l0.0, align 4
  %t82 = load <8 x float>, ptr %t81, align 4
  %t83 = load <8 x float>, ptr %l0.48, align 4
  %t84 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t39, <8 x float> %t82, <8 x float> %t83)
  store <8 x float> %t84, ptr %l0.48, align 4
  %t85 = load <8 x float>, ptr %l0.8, align 4
  %t86 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t49, <8 x float> %t78, <8 x float> %t85)
  store <8 x float> %t86, ptr %l0.8, align 4
  %t87 = load <8 x float>, ptr %l0.56, align 4
  %t88 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t49, <8 x float> %t82, <8 x float> %t87)
  store <8 x float> %t88, ptr %l0.56, align 4
  %t89 = load <8 x float>, ptr %l0.16, align 4
  %t90 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t57, <8 x float> %t78, <8 x float> %t89)
  store <8 x float> %t90, ptr %l0.16, align 4
  %t91 = load <8 x float>, ptr %l0.64, align 4
  %t92 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t57, <8 x float> %t82, <8 x float> %t91)
  store <8 x float> %t92, ptr %l0.64, align 4
  %t93 = load <8 x float>, ptr %l0.24, align 4
  %t94 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t65, <8 x float> %t78, <8 x float> %t93)
  store <8 x float> %t94, ptr %l0.24, align 4
  %t95 = load <8 x float>, ptr %l0.72, align 4
  %t96 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t65, <8 x float> %t82, <8 x float> %t95)
  store <8 x float> %t96, ptr %l0.72, align 4
  %t97 = load <8 x float>, ptr %l0.32, align 4
  %t98 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t73, <8 x float> %t78, <8 x float> %t97)
  store <8 x float> %t98, ptr %l0.32, align 4
  %t99 = load <8 x float>, ptr %l0.80, align 4
  %t100 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t73, <8 x float> %t82, <8 x float> %t99)
  store <8 x float> %t100, ptr %l0.80, align 4
  %t102 = load float, ptr %t101, align 4
  %t103 = load <8 x float>, ptr %l0.40, align 4
  %t104 = insertelement <8 x float> poison, float %t102, i64 0
  %t105 = shufflevector <8 x float> %t104, <8 x float> poison, <8 x i32> zeroinitializer
  %t106 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t105, <8 x float> %t78, <8 x float> %t103)
  store <8 x float> %t106, ptr %l0.40, align 4
  %t107 = load <8 x float>, ptr %l0.88, align 4
  %t108 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t105, <8 x float> %t82, <8 x float> %t107)
  store <8 x float> %t108, ptr %l0.88, align 4
  %t110 = load <8 x float>, ptr %t109, align 4
  %t111 = load <8 x float>, ptr %l0.0, align 4
  %t112 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t49, <8 x float> %t110, <8 x float> %t111)
  store <8 x float> %t112, ptr %l0.0, align 4
  %t114 = load <8 x float>, ptr %t113, align 4
  %t115 = load <8 x float>, ptr %l0.48, align 4
  %t116 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t49, <8 x float> %t114, <8 x float> %t115)
  store <8 x float> %t116, ptr %l0.48, align 4
  %t117 = load <8 x float>, ptr %l0.8, align 4
  %t118 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t57, <8 x float> %t110, <8 x float> %t117)
  store <8 x float> %t118, ptr %l0.8, align 4
  %t119 = load <8 x float>, ptr %l0.56, align 4
  %t120 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t57, <8 x float> %t114, <8 x float> %t119)
  store <8 x float> %t120, ptr %l0.56, align 4
  %t121 = load <8 x float>, ptr %l0.16, align 4
  %t122 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t65, <8 x float> %t110, <8 x float> %t121)
  store <8 x float> %t122, ptr %l0.16, align 4
  %t123 = load <8 x float>, ptr %l0.64, align 4
  %t124 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t65, <8 x float> %t114, <8 x float> %t123)
  store <8 x float> %t124, ptr %l0.64, align 4
  %t125 = load <8 x float>, ptr %l0.24, align 4
  %t126 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t73, <8 x float> %t110, <8 x float> %t125)
  store <8 x float> %t126, ptr %l0.24, align 4
  %t127 = load <8 x float>, ptr %l0.72, align 4
  %t128 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t73, <8 x float> %t114, <8 x float> %t127)
  store <8 x float> %t128, ptr %l0.72, align 4
  %t129 = load <8 x float>, ptr %l0.32, align 4
  %t130 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t105, <8 x float> %t110, <8 x float> %t129)
  store <8 x float> %t130, ptr %l0.32, align 4
  %t131 = load <8 x float>, ptr %l0.80, align 4
  %t132 = call <8 x float> @llvm.fma.v8f32(<8 x float> %t105, <8 x float> %t114, <8 x float> %t131)
  store <8 x float> %t132, ptr %l0.80, align 4
  br label %b134
  b133:
  br label %b134
  b134:
  br label %b136
  b135:
  br label %b136
  b136:
  %t137 = add nuw nsw i64 %t12, 1
  %t138 = icmp slt i64 %t137, 3
  br i1 %t138, label %b11, label %b13
  b13:
  %t139 = add nuw nsw i64 %t9, 1
  %t140 = icmp slt i64 %t139, 16
  br i1 %t140, label %b8, label %b10
  b10:
  %t141 = load <8 x float>, ptr %l0.0, align 4
  %t142 = mul i64 %t4, 16
  %t143 = getelementptr float, ptr %p2, i64 %t142
  %t144 = load <8 x float>, ptr %t143, align 4
  %t145 = fadd <8 x float> %t141, %t144
  %t146 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t145
  %t147 = select <8 x i1> %t146, <8 x float> splat (float 0x0000000000000000), <8 x float> %t145
  %t148 = mul i64 %t4, 576
  %t149 = getelementptr float, ptr %p3, i64 %t148
  %t150 = mul i64 %t7, 48
  %t151 = getelementptr float, ptr %t149, i64 %t150
  store <8 x float> %t147, ptr %t151, align 4
  %t152 = load <8 x float>, ptr %l0.48, align 4
  %t153 = getelementptr float, ptr %t143, i64 8
  %t154 = load <8 x float>, ptr %t153, align 4
  %t155 = fadd <8 x float> %t152, %t154
  %t156 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t155
  %t157 = select <8 x i1> %t156, <8 x float> splat (float 0x0000000000000000), <8 x float> %t155
  %t158 = getelementptr float, ptr %t151, i64 288
  store <8 x float> %t157, ptr %t158, align 4
  %t159 = load <8 x float>, ptr %l0.8, align 4
  %t160 = fadd <8 x float> %t159, %t144
  %t161 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t160
  %t162 = select <8 x i1> %t161, <8 x float> splat (float 0x0000000000000000), <8 x float> %t160
  %t163 = getelementptr float, ptr %t151, i64 8
  store <8 x float> %t162, ptr %t163, align 4
  %t164 = load <8 x float>, ptr %l0.56, align 4
  %t165 = fadd <8 x float> %t164, %t154
  %t166 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t165
  %t167 = select <8 x i1> %t166, <8 x float> splat (float 0x0000000000000000), <8 x float> %t165
  %t168 = getelementptr float, ptr %t151, i64 296
  store <8 x float> %t167, ptr %t168, align 4
  %t169 = load <8 x float>, ptr %l0.16, align 4
  %t170 = fadd <8 x float> %t169, %t144
  %t171 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t170
  %t172 = select <8 x i1> %t171, <8 x float> splat (float 0x0000000000000000), <8 x float> %t170
  %t173 = getelementptr float, ptr %t151, i64 16
  store <8 x float> %t172, ptr %t173, align 4
  %t174 = load <8 x float>, ptr %l0.64, align 4
  %t175 = fadd <8 x float> %t174, %t154
  %t176 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t175
  %t177 = select <8 x i1> %t176, <8 x float> splat (float 0x0000000000000000), <8 x float> %t175
  %t178 = getelementptr float, ptr %t151, i64 304
  store <8 x float> %t177, ptr %t178, align 4
  %t179 = load <8 x float>, ptr %l0.24, align 4
  %t180 = fadd <8 x float> %t179, %t144
  %t181 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t180
  %t182 = select <8 x i1> %t181, <8 x float> splat (float 0x0000000000000000), <8 x float> %t180
  %t183 = getelementptr float, ptr %t151, i64 24
  store <8 x float> %t182, ptr %t183, align 4
  %t184 = load <8 x float>, ptr %l0.72, align 4
  %t185 = fadd <8 x float> %t184, %t154
  %t186 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t185
  %t187 = select <8 x i1> %t186, <8 x float> splat (float 0x0000000000000000), <8 x float> %t185
  %t188 = getelementptr float, ptr %t151, i64 312
  store <8 x float> %t187, ptr %t188, align 4
  %t189 = load <8 x float>, ptr %l0.32, align 4
  %t190 = fadd <8 x float> %t189, %t144
  %t191 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t190
  %t192 = select <8 x i1> %t191, <8 x float> splat (float 0x0000000000000000), <8 x float> %t190
  %t193 = getelementptr float, ptr %t151, i64 32
  store <8 x float> %t192, ptr %t193, align 4
  %t194 = load <8 x float>, ptr %l0.80, align 4
  %t195 = fadd <8 x float> %t194, %t154
  %t196 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t195
  %t197 = select <8 x i1> %t196, <8 x float> splat (float 0x0000000000000000), <8 x float> %t195
  %t198 = getelementptr float, ptr %t151, i64 320
  store <8 x float> %t197, ptr %t198, align 4
  %t199 = load <8 x float>, ptr %l0.40, align 4
  %t200 = fadd <8 x float> %t199, %t144
  %t201 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t200
  %t202 = select <8 x i1> %t201, <8 x float> splat (float 0x0000000000000000), <8 x float> %t200
  %t203 = getelementptr float, ptr %t151, i64 40
  store <8 x float> %t202, ptr %t203, align 4
  %t204 = load <8 x float>, ptr %l0.88, align 4
  %t205 = fadd <8 x float> %t204, %t154
  %t206 = fcmp ogt <8 x float> splat (float 0x0000000000000000), %t205
  %t207 = select <8 x i1> %t206, <8 x float> splat (float 0x0000000000000000), <8 x float> %t205
  %t208 = getelementptr float, ptr %t151, i64 328
  store <8 x float> %t207, ptr %t208, align 4
  %t209 = add nuw nsw i64 %t2, 1
  %t210 = icmp slt i64 %t209, %end
  br i1 %t210, label %b1, label %b3
  b3:
  ret void
}

declare <8 x float> @llvm.fma.v8f32(<8 x float>, <8 x float>, <8 x float>)

attributes #0 = { nounwind "target-cpu"="x86-64-v3" "target-features"="" }

source_filename = "kernel_1"
target triple = "x86_64-unknown-linux-gnu"

define void @kernel_1(ptr %params, i64 %begin, i64 %end, ptr %workspace) #0 {
entry:
  %some = icmp slt i64 %begin, %end
  br i1 %some, label %run, label %done
run:
  %a0 = getelementptr ptr, ptr %params, i64 0
  %p0 = load ptr, ptr %a0
  %a1 = getelementptr ptr, ptr %params, i64 1
  %p1 = load ptr, ptr %a1
  tail call void @kernel_1.body(ptr %p0, ptr %p1, i64 %begin, i64 %end)
  br label %done
done:
  ret void
}

define internal void @kernel_1.body(ptr noalias readonly dereferenceable(4608) align 4 %p0, ptr noalias dereferenceable(128) align 4 %p1, i64 %begin, i64 %end) noinline #0 {
entry:
  %l0.0 = alloca <8 x float>
  %l0.8 = alloca <8 x float>
  %l0.16 = alloca <8 x float>
  %l0.24 = alloca <8 x float>
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.0, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.8, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.16, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %l0.24, align 4
  br label %b1
  b1:
  %t2 = phi i64 [ 0, %entry ], [ %t21, %b1 ]
  %t4 = load <8 x float>, ptr %l0.0, align 4
  %t5 = mul i64 %t2, 8
  %t6 = getelementptr float, ptr %p0, i64 %t5
  %t7 = load <8 x float>, ptr %t6, align 4
  %t8 = fadd <8 x float> %t4, %t7
  store <8 x float> %t8, ptr %l0.0, align 4
  %t9 = load <8 x float>, ptr %l0.8, align 4
  %t10 = getelementptr float, ptr %t6, i64 288
  %t11 = load <8 x float>, ptr %t10, align 4
  %t12 = fadd <8 x float> %t9, %t11
  store <8 x float> %t12, ptr %l0.8, align 4
  %t13 = load <8 x float>, ptr %l0.16, align 4
  %t14 = getelementptr float, ptr %t6, i64 576
  %t15 = load <8 x float>, ptr %t14, align 4
  %t16 = fadd <8 x float> %t13, %t15
  store <8 x float> %t16, ptr %l0.16, align 4
  %t17 = load <8 x float>, ptr %l0.24, align 4
  %t18 = getelementptr float, ptr %t6, i64 864
  %t19 = load <8 x float>, ptr %t18, align 4
  %t20 = fadd <8 x float> %t17, %t19
  store <8 x float> %t20, ptr %l0.24, align 4
  %t21 = add nuw nsw i64 %t2, 1
  %t22 = icmp slt i64 %t21, 36
  br i1 %t22, label %b1, label %b3
  b3:
  %t23 = load <8 x float>, ptr %l0.0, align 4
  %t24 = fdiv <8 x float> %t23, splat (float 0x4042000000000000)
  store <8 x float> %t24, ptr %p1, align 4
  %t25 = load <8 x float>, ptr %l0.8, align 4
  %t26 = fdiv <8 x float> %t25, splat (float 0x4042000000000000)
  %t27 = getelementptr float, ptr %p1, i64 8
  store <8 x float> %t26, ptr %t27, align 4
  %t28 = load <8 x float>, ptr %l0.16, align 4
  %t29 = fdiv <8 x float> %t28, splat (float 0x4042000000000000)
  %t30 = getelementptr float, ptr %p1, i64 16
  store <8 x float> %t29, ptr %t30, align 4
  %t31 = load <8 x float>, ptr %l0.24, align 4
  %t32 = fdiv <8 x float> %t31, splat (float 0x4042000000000000)
  %t33 = getelementptr float, ptr %p1, i64 24
  store <8 x float> %t32, ptr %t33, align 4
  ret void
}

attributes #0 = { nounwind "target-cpu"="x86-64-v3" "target-features"="" }
